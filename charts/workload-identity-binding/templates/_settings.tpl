{{/*
Settings of the operator, as a map from environment variable to value. Variables, not flags: so that `extraArgs` stands
above them, and `extraEnv` in place of them.
*/}}
{{- define "wib.settings" -}}
{{- $address := .Values.metrics.address }}
{{- if contains ":" $address }}
{{- $address = printf "[%s]" $address }}
{{- end }}
WIB_AZURE_CREDENTIAL: {{ .Values.azure.credential | quote }}
AZURE_CLIENT_ID: {{ .Values.azure.clientId | quote }}
AZURE_TENANT_ID: {{ .Values.azure.tenantId | quote }}
AZURE_ENVIRONMENT: {{ .Values.azure.environment | quote }}
AZURE_RESOURCE_MANAGER_ENDPOINT: {{ .Values.azure.endpoint | quote }}
AZURE_AUTHORITY_HOST: {{ .Values.azure.authorityHost | quote }}
AZURE_SUBSCRIPTION_ID: {{ .Values.azure.subscriptionId | quote }}
WIB_RESOURCE_GROUP: {{ .Values.azure.resourceGroup | quote }}
WIB_AUDIENCE: {{ .Values.azure.audience | quote }}
WIB_ISSUER: {{ .Values.cluster.issuer | quote }}
WIB_AUTHORIZATION: {{ .Values.authorization | quote }}
WIB_DELETION_POLICY: {{ .Values.deletionPolicy | quote }}
WIB_ORPHAN_GRACE_PERIOD: {{ .Values.orphanGracePeriod | quote }}
WIB_FORMER_ISSUER_RETENTION: {{ .Values.formerIssuerRetention | quote }}
WIB_DRIFT_INTERVAL: {{ .Values.driftInterval | quote }}
WIB_CREDENTIAL_PREFIX: {{ .Values.credentialPrefix | quote }}
WIB_CONCURRENCY: {{ .Values.concurrency | quote }}
WIB_WATCH_NAMESPACE: {{ .Values.watchNamespace | quote }}
WIB_LEADER_ELECT: {{ .Values.leaderElection.enabled | quote }}
{{- if .Values.leaderElection.enabled }}
WIB_LEASE_NAME: {{ include "wib.leaseName" . | quote }}
WIB_LEASE_DURATION: {{ .Values.leaderElection.leaseDuration | quote }}
{{- end }}
WIB_HTTP_ADDRESS: {{ printf "%s:%v" $address .Values.metrics.port | quote }}
WIB_LOG_FORMAT: {{ .Values.logFormat | quote }}
WIB_LOG_LEVEL: {{ .Values.logLevel | quote }}
WIB_SHUTDOWN_TIMEOUT: {{ printf "%ds" (sub .Values.terminationGracePeriodSeconds 5) | quote }}
{{- if eq .Values.azure.credential "workload-identity" }}
AZURE_FEDERATED_TOKEN_FILE: /var/run/secrets/azure/tokens/azure-identity-token
{{- end }}
{{- end }}

{{/* The same as the container's env, with the pod's name and namespace, and `extraEnv`. */}}
{{- define "wib.env" -}}
{{- $given := list }}
{{- range .Values.extraEnv }}
{{- $given = append $given .name }}
{{- end }}
{{- range $name, $value := include "wib.settings" . | fromYaml }}
{{- if and $value (not (has $name $given)) }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- range $name, $field := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" }}
{{- if not (has $name $given) }}
- name: {{ $name }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $field }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
