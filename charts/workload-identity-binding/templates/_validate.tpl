{{/* What a schema cannot say. Each sentence names the value and the way out. */}}
{{- define "wib.validate" -}}
{{- $given := list }}
{{- range .Values.extraEnv }}
{{- $given = append $given .name }}
{{- end }}
{{- if ne .Values.azure.credential "managed-identity" }}
{{- if not (or .Values.azure.clientId (has "AZURE_CLIENT_ID" $given)) }}
{{- fail "azure.clientId is not set. Set it to the client id of the operator's own managed identity: az identity show --resource-group GROUP --name NAME --query clientId --output tsv" }}
{{- end }}
{{- if not (or .Values.azure.tenantId (has "AZURE_TENANT_ID" $given)) }}
{{- fail "azure.tenantId is not set. Set it to the tenant of the operator's own managed identity: az identity show --resource-group GROUP --name NAME --query tenantId --output tsv" }}
{{- end }}
{{- end }}
{{- range $name := list "clientId" "tenantId" }}
{{- if eq (get $.Values.azure $name) "00000000-0000-0000-0000-000000000000" }}
{{- fail (printf "azure.%s is a placeholder. Set azure.clientId and azure.tenantId to clientId and tenantId of the operator's own managed identity, as az identity show prints them" $name) }}
{{- end }}
{{- end }}
{{- if and (eq .Values.azure.credential "environment") (not (or (has "AZURE_CLIENT_SECRET" $given) (has "AZURE_CLIENT_CERTIFICATE_PATH" $given))) }}
{{- fail "azure.credential is environment, but extraEnv has neither AZURE_CLIENT_SECRET nor AZURE_CLIENT_CERTIFICATE_PATH. Add one of them to extraEnv" }}
{{- end }}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) }}
{{- fail "serviceAccount.create is false and serviceAccount.name is not set. Name the ServiceAccount that the operator runs as: its federated credential must not trust a namespace's default one" }}
{{- end }}
{{- if and (not .Values.leaderElection.enabled) (gt (int .Values.replicaCount) 1) }}
{{- fail (printf "leaderElection.enabled is false and replicaCount is %d. Without an election there must never be a second replica: set replicaCount to 1, or leave the election on" (int .Values.replicaCount)) }}
{{- end }}
{{- if and (not .Values.leaderElection.enabled) (eq (dig "type" "Recreate" .Values.strategy) "RollingUpdate") }}
{{- fail "leaderElection.enabled is false and strategy.type is RollingUpdate, which runs two pods during an update. Leave strategy empty, or the election on" }}
{{- end }}
{{- if and (ne (toString .Values.podDisruptionBudget.minAvailable) "") (ne (toString .Values.podDisruptionBudget.maxUnavailable) "") }}
{{- fail "podDisruptionBudget has both minAvailable and maxUnavailable. Set one of them" }}
{{- end }}
{{- if and .Values.admissionPolicy.enabled (ne .Values.authorization "rbac") }}
{{- fail "admissionPolicy.enabled asks for grants that authorization: none does not know. Turn the policy off, or set authorization to rbac" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) }}
{{- fail "metrics.serviceMonitor.enabled needs the Service: set metrics.enabled to true" }}
{{- end }}
{{- end }}
