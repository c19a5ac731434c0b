{{/* The chart's name, or what stands for it. */}}
{{- define "wib.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the objects. With its suffix, a Service's takes 63 characters and no dots. */}}
{{- define "wib.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $full .Values.fullnameOverride | replace "." "-" | trunc 55 | trimSuffix "-" }}
{{- end }}

{{- define "wib.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "wib.fullname" .) }}
{{- end }}

{{- define "wib.leaseName" -}}
{{- .Values.leaderElection.leaseName | default (include "wib.fullname" .) }}
{{- end }}

{{/* Labels that no update changes. */}}
{{- define "wib.selectorLabels" -}}
app.kubernetes.io/name: {{ include "wib.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "wib.labels" -}}
{{- $chart := printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- $own := dict "helm.sh/chart" $chart "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $own = merge $own (include "wib.selectorLabels" . | fromYaml) }}
{{- toYaml (merge $own .Values.commonLabels) }}
{{- end }}

{{/* Labels of one object: call with `list . <its labels>`. */}}
{{- define "wib.labelsWith" -}}
{{- $own := include "wib.labels" (index . 0) | fromYaml }}
{{- toYaml (merge $own (index . 1)) }}
{{- end }}

{{- define "wib.image" -}}
{{- with .Values.image }}
{{- with .registry }}{{ . }}/{{ end }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}
