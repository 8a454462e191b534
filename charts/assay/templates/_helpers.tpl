{{- define "assay.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "assay.selector" -}}
app.kubernetes.io/name: assay
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "assay.labels" -}}
{{ include "assay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "assay.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* caBundle is not named: an upgrade would empty it. Assay fills it in, or whoever made the certificate does. */ -}}
{{- define "assay.clientConfig" -}}
{{- if .root.Values.webhook.url -}}
url: {{ printf "%s%s" .root.Values.webhook.url .path | quote }}
{{- else -}}
service:
  name: {{ include "assay.fullname" .root }}
  namespace: {{ .root.Release.Namespace }}
  path: {{ .path }}
  port: 443
{{- end -}}
{{- end -}}

{{- /* By the name that the API server itself gives a namespace, never by a label that its tenants could set. */ -}}
{{- define "assay.namespaceSelector" -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: [kube-system, {{ .Release.Namespace }}]
{{- end -}}

{{- /* Labels and finalizers can be mended, and objects can end, while Assay is away and whatever their spec says. */ -}}
{{- define "assay.specChanged" -}}
- name: spec-changed
  expression: request.operation != 'UPDATE' || object.spec != oldObject.spec
{{- end -}}

{{- /* The program's settings, variable by variable; those under `settings` come last and win. */ -}}
{{- define "assay.environment" -}}
{{- $name := include "assay.fullname" . -}}
{{- $environment := dict
  "ASSAY_LOG_FORMAT" "json"
  "ASSAY_ASSAY_NAMESPACE" .Release.Namespace
  "ASSAY_ASSAY_IMAGE" (include "assay.image" .)
  "ASSAY_CLUSTER_NAME" .Values.clusterName
  "ASSAY_LEASE" $name
  "ASSAY_NO_MATCH" .Values.noMatch
  "ASSAY_WEBHOOK_PORT" (toString .Values.webhook.port)
  "ASSAY_WEBHOOK_TIMEOUT" (printf "%vs" .Values.webhook.timeoutSeconds)
-}}
{{- if .Values.webhook.certificate.existingSecret -}}
{{- $_ := set $environment "ASSAY_WEBHOOK_CONFIGURATION" "" -}}
{{- $_ := set $environment "ASSAY_WEBHOOK_CERTIFICATE_FILE" "/etc/assay/tls/tls.crt" -}}
{{- $_ := set $environment "ASSAY_WEBHOOK_KEY_FILE" "/etc/assay/tls/tls.key" -}}
{{- else -}}
{{- $service := printf "%s.%s.svc" $name .Release.Namespace -}}
{{- $_ := set $environment "ASSAY_WEBHOOK_CONFIGURATION" $name -}}
{{- $_ := set $environment "ASSAY_WEBHOOK_NAMES" (printf "%s,%s.cluster.local" $service $service) -}}
{{- end -}}
{{- with .Values.webhook.clientCA -}}
{{- if or .existingSecret .existingConfigMap -}}
{{- $_ := set $environment "ASSAY_WEBHOOK_CLIENT_CA_FILE" "/etc/assay/client-ca/ca.crt" -}}
{{- end -}}
{{- if .names -}}
{{- $_ := set $environment "ASSAY_WEBHOOK_CLIENT_NAMES" (join "," .names) -}}
{{- end -}}
{{- end -}}
{{- if .Values.inventory.enabled -}}
{{- $_ := set $environment "ASSAY_INVENTORY_ACCESS" "Kubernetes" -}}
{{- $_ := set $environment "ASSAY_INVENTORY_HOST" "0.0.0.0" -}}
{{- $_ := set $environment "ASSAY_INVENTORY_PORT" (toString .Values.inventory.port) -}}
{{- end -}}
{{- if .Values.ledger.existingSecret -}}
{{- $_ := set $environment "ASSAY_LEDGER_KEY_FILE" "/etc/assay/ledger/ledger.key" -}}
{{- end -}}
{{- if not .Values.database.existingSecret -}}
{{- $_ := set $environment "ASSAY_DATABASE_URL" "sqlite:////var/lib/assay/inventory.db" -}}
{{- end -}}
{{- range $setting, $value := .Values.settings -}}
{{- $_ := set $environment (printf "ASSAY_%s" (upper $setting)) (toString $value) -}}
{{- end -}}
{{- toYaml $environment -}}
{{- end -}}
