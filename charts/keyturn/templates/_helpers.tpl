{{- define "keyturn.labels" -}}
app.kubernetes.io/name: keyturn
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "keyturn.metadata" -}}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "keyturn.labels" . | nindent 2 }}
{{- end }}

{{- define "keyturn.selector" -}}
{{- $first := true }}
{{- range $name, $value := .Values.selector }}
{{- if not $first }}{{ "\n" }}{{ end }}
{{- $first = false }}
{{- $name | quote }}: {{ $value | quote }}
{{- else }}
{{- "" }}"istio": {{ .Release.Name | quote }}
{{- end }}
{{- end }}

{{- define "keyturn.keys" -}}
{{ .Values.secrets.keys | default (printf "%s-keys" .Release.Name) }}
{{- end }}

{{- define "keyturn.admin" -}}
{{ .Values.secrets.admin | default (printf "%s-admin" .Release.Name) }}
{{- end }}

{{- /* The pod's part of a Deployment or of a patch of one. */ -}}
{{- define "keyturn.pod" -}}
# The proxy's drain, then Keyturn's 30 s for attempts under way.
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
securityContext:
  # The group that Keyturn and the proxy have in common. The kubelet gives it the folder of the sockets and sets its setgid bit, so
  # that what either of them makes there, with mode 0660, is open to the other.
  fsGroup: {{ .Values.group }}
{{- if .Values.nativeSidecar }}
initContainers:
  # A native sidecar: the proxy starts when it is up, and it ends when the proxy has.
  {{- include "keyturn.container" . | nindent 2 }}
{{- end }}
{{- if or (not .Values.nativeSidecar) (ne .Values.form "sidecar") }}
containers:
{{- if ne .Values.form "sidecar" }}
  {{- include "keyturn.proxy" . | nindent 2 }}
{{- end }}
{{- if not .Values.nativeSidecar }}
  {{- include "keyturn.container" . | nindent 2 }}
{{- end }}
{{- end }}
volumes:
  # Who reaches the sockets can ask for keys: mount this into Keyturn and the proxy, and into nothing else.
  - name: keyturn-sockets
    emptyDir: {sizeLimit: 1Mi}
  - name: keyturn-config
    configMap:
      name: {{ .Release.Name | quote }}
  - name: keyturn-secrets
    projected:
      # The kubelet adds the right to read for the group above.
      defaultMode: 0400
      sources:
        - secret: {name: {{ include "keyturn.keys" . | quote }}}
        - secret: {name: {{ include "keyturn.admin" . | quote }}}
{{- end }}

{{- define "keyturn.proxy" -}}
- name: {{ .Values.proxyContainer | quote }}
{{- if eq .Values.form "gateway" }}
  # Istio's injector writes the image and the rest.
  image: auto
  ports:
    - {name: http, containerPort: {{ .Values.gateway.port }}}
  resources:
    requests: {{ .Values.gateway.resources.requests | toJson }}
    limits: {{ .Values.gateway.resources.limits | toJson }}
  securityContext:
    runAsNonRoot: true
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
{{- end }}
  volumeMounts:
    - {name: keyturn-sockets, mountPath: /run/keyturn}
{{- end }}

{{- define "keyturn.container" -}}
- name: keyturn
  image: {{ .Values.image | quote }}
  imagePullPolicy: {{ .Values.imagePullPolicy }}
  args: [serve, -c, /etc/keyturn/keyturn.yaml]
{{- if .Values.nativeSidecar }}
  restartPolicy: Always
{{- end }}
  env:
    # The garbage collector works harder before the kernel ends the container.
    - name: GOMEMLIMIT
      valueFrom:
        resourceFieldRef: {containerName: keyturn, resource: limits.memory, divisor: "1"}
{{- range .Values.env }}
    - {{ . | toJson }}
{{- end }}
  ports:
    - {name: keyturn-admin, containerPort: {{ .Values.adminPort }}}
  startupProbe:
    httpGet: {path: /healthz, port: {{ .Values.adminPort }}}
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    httpGet: {path: /healthz, port: {{ .Values.adminPort }}}
    periodSeconds: 10
    timeoutSeconds: 5
  readinessProbe:
    {{- if eq .Values.readinessPath "/healthz" }}
    # Not /readyz: all replicas have the same keys, so when all rest no pod would be left to answer 429 with a Retry-After.
    {{- end }}
    httpGet: {path: {{ .Values.readinessPath }}, port: {{ .Values.adminPort }}}
    periodSeconds: 5
    timeoutSeconds: 5
{{- if not .Values.nativeSidecar }}
  lifecycle:
    preStop:
      # The proxy still takes requests while it drains. Kubernetes 1.30.
      sleep: {seconds: {{ .Values.preStopSeconds }}}
{{- end }}
  securityContext:
    runAsUser: {{ .Values.user }}
    runAsGroup: {{ .Values.user }}
    runAsNonRoot: true
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
  # No limit of CPU: being throttled would delay every request.
  resources:
    requests: {{ .Values.resources.requests | toJson }}
    limits: {{ .Values.resources.limits | toJson }}
  volumeMounts:
    - {name: keyturn-sockets, mountPath: /run/keyturn}
    - {name: keyturn-config, mountPath: /etc/keyturn, readOnly: true}
    # Folders, not subPath: a changed key is in the pod within about a minute, and in use a second later.
    - {name: keyturn-secrets, mountPath: /run/secrets/keyturn, readOnly: true}
{{- end }}

{{- define "keyturn.patch" -}}
apiVersion: apps/v1
kind: Deployment
{{- if .Values.deployment }}
metadata:
  name: {{ .Values.deployment | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end }}
spec:
  template:
{{- if eq .Values.form "sidecar" }}
    metadata:
      annotations:
        # The injected proxy gets the sockets.
        sidecar.istio.io/userVolumeMount: '{"keyturn-sockets":{"mountPath":"/run/keyturn"}}'
        # Probes and Prometheus reach Keyturn without the mesh's TLS; the admin endpoint has its token.
        traffic.sidecar.istio.io/excludeInboundPorts: {{ .Values.adminPort | quote }}
{{- end }}
    spec:
      {{- include "keyturn.pod" . | nindent 6 }}
{{- end }}
