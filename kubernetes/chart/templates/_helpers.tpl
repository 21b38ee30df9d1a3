{{- /* Names and labels, and what several templates need. */ -}}

{{- define "trysail.name" -}}
{{- if contains "trysail" .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{- else -}}{{ printf "%s-trysail" .Release.Name | trunc 50 | trimSuffix "-" }}{{- end -}}
{{- end }}

{{- define "trysail.selector" -}}
app.kubernetes.io/name: trysail
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "trysail.labels" -}}
{{ include "trysail.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* The file of settings. */ -}}
{{- define "trysail.settings" -}}
{{- $ports := dict -}}
{{- range .Values.ports }}{{ $_ := set $ports (.port | toString) .targetPort }}{{ end -}}
{{- $ours := dict
  "namespace" .Release.Namespace
  "labels" .Values.gatewayLabels
  "state" "/var/lib/trysail"
  "certificates" "/etc/trysail/certificates"
  "preStopDelay" (printf "%ds" (int .Values.preStopDelaySeconds))
  "drain" (printf "%ds" (int .Values.drainSeconds))
-}}
ports:
{{- range .Values.ports }}
  {{ .port }}: {{ .targetPort }}
{{- end }}
{{ toYaml $ours }}
{{- if eq .Values.source "kubernetes" }}
kubernetes:
  lease: {{ include "trysail.name" . }}
  status: {{ .Values.writeStatus }}
  {{- with .Values.namespaces }}
  namespaces: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- with .Values.settings }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "trysail.pod" -}}
metadata:
  labels:
    {{- include "trysail.labels" . | nindent 4 }}
    {{- toYaml .Values.gatewayLabels | nindent 4 }}
    {{- with .Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    # Settings are read at the start; files are followed.
    checksum/settings: {{ include "trysail.settings" . | sha256sum }}
    {{- if not .Values.serviceMonitor.enabled }}
    prometheus.io/scrape: "true"
    prometheus.io/port: "15020"
    prometheus.io/path: /metrics
    {{- end }}
    {{- with .Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  {{- if eq .Values.source "kubernetes" }}
  automountServiceAccountToken: true
  {{- else }}
  # It asks nothing of the API server.
  automountServiceAccountToken: false
  {{- end }}
  serviceAccountName: {{ include "trysail.name" . }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  # preStopDelay, drain, and ten seconds.
  terminationGracePeriodSeconds: {{ add .Values.preStopDelaySeconds .Values.drainSeconds 10 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: trysail
      image: {{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      # /usr/bin/trysail of the image.
      {{- if eq .Values.source "kubernetes" }}
      args: [run, --kubernetes, --settings, /etc/trysail/settings/trysail.yaml]
      env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
      {{- else }}
      args: [run, --config, /etc/trysail/files, --settings, /etc/trysail/settings/trysail.yaml]
      {{- end }}
      ports:
        {{- range .Values.ports }}
        - name: {{ .name }}
          containerPort: {{ .targetPort }}
          {{- if $.Values.hostPorts }}
          hostPort: {{ .port }}
          {{- end }}
        {{- end }}
        - {name: metrics, containerPort: 15020}
        - {name: health, containerPort: 15021}
      # Yes once a revision is in force and its ports are bound, no from SIGTERM on. There is no other probe: a restart mends
      # nothing that a gateway waits for.
      readinessProbe:
        httpGet: {path: /healthz/ready, port: health}
        periodSeconds: 2
        failureThreshold: 2
      resources: {{ toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        {{- if eq .Values.source "files" }}
        - {name: files, mountPath: /etc/trysail/files, readOnly: true}
        {{- end }}
        - {name: settings, mountPath: /etc/trysail/settings, readOnly: true}
        # The last good revision, for a container that starts again.
        - {name: state, mountPath: /var/lib/trysail}
        {{- if eq .Values.source "files" }}
        {{- range .Values.certificates }}
        - {name: {{ printf "certificate-%s" . | quote }}, mountPath: {{ printf "/etc/trysail/certificates/%s" . | quote }}, readOnly: true}
        {{- end }}
        {{- end }}
  volumes:
    {{- if eq .Values.source "files" }}
    - name: files
      configMap: {name: {{ default (printf "%s-files" (include "trysail.name" .)) .Values.filesFrom }}}
    {{- end }}
    - name: settings
      configMap: {name: {{ include "trysail.name" . }}-settings}
    - name: state
      emptyDir: {sizeLimit: 256Mi}
    {{- if eq .Values.source "files" }}
    {{- range .Values.certificates }}
    - name: {{ printf "certificate-%s" . | quote }}
      secret: {secretName: {{ . | quote }}}
    {{- end }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq .Values.kind "Deployment" }}
  topologySpreadConstraints:
    {{- if .Values.topologySpreadConstraints }}
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{ include "trysail.selector" $ | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
