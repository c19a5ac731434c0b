{{/*
All that the operator does in the cluster, as in config/rbac/role.yaml, which names the code behind each rule. A test
keeps the two equal, and another fails when a rule is not used or one is missing.
*/}}

{{/* In the namespaces of bindings. */}}
{{- define "wib.rulesForBindings" -}}
# list, watch: the operator's own watch. get: the latest status before a deletion. patch: the finalizer.
- apiGroups: [workload-identity.io]
  resources: [workloadidentitybindings]
  verbs: [get, list, watch, patch]
# patch: conditions, and what was made in Azure.
- apiGroups: [workload-identity.io]
  resources: [workloadidentitybindings/status]
  verbs: [patch]
# list, watch: metadata. patch: the azure.workload.identity annotations. create: spec.serviceAccount.create.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [list, watch, create, patch]
# create, patch: events of bindings, and the count of repeated ones.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* In the whole cluster. */}}
{{- define "wib.rulesForCluster" -}}
{{- if eq .Values.authorization "rbac" }}
# create: may this ServiceAccount use this identity?
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
# list, watch: metadata only, to see at once that a grant came or went.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles, clusterrolebindings]
  verbs: [list, watch]
{{- end }}
# list, watch: the records of what was made on identities. get: the latest one before a write at Azure. create, delete:
# before the first credential on an identity, and after the last one.
- apiGroups: [workload-identity.io]
  resources: [managedidentities]
  verbs: [get, list, watch, create, delete]
# update: what was made in Azure, put on record before it is.
- apiGroups: [workload-identity.io]
  resources: [managedidentities/status]
  verbs: [update]
# get: is the definition being deleted? Then no credential is deleted with it.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: [workloadidentitybindings.workload-identity.io]
  verbs: [get]
{{- end }}
