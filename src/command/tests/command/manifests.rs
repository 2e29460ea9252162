//! `check` on manifests for Kubernetes.

use crate::check::finds;

#[test]
fn manifests_for_istio_are_checked_one_by_one() {
    let text = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: as }
spec: { hosts: [as.test] }
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: { name: guard, namespace: shop }
spec:
  url: oci://registry.test/oauth2-filter:0.1.0
  match: [{ mode: SERVER }]
  failStrategy: FAIL_OPEN
  vmConfig:
    env:
      - { name: SECRET, valueFrom: HOST }
      - { name: GIVEN, value: x }
  pluginConfig:
    inbound:
      introspection:
        - endpoint: https://as.test/
          client_id: rs
          client_secret: { env: SECRET }
          when: { hosts: [a.test] }
        - endpoint: https://as.test/
          client_id: rs
          client_secret: { env: OTHER }
      audience: a
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: call }
spec:
  configPatches:
    - applyTo: CLUSTER
      patch:
        operation: MERGE
        value:
          typed_extension_protocol_options:
            envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
              http_filters:
                - name: oauth2
                  typed_config:
                    \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                    config:
                      root_id: oauth2
                      configuration:
                        \"@type\": type.googleapis.com/google.protobuf.StringValue
                        value: |
                          {\"outbound\": {
                            \"clients\": {}
                          }}
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: { name: empty }
spec:
  url: oci://registry.test/oauth2-filter:0.1.0
";
    finds(
        "manifests.yaml",
        text,
        &[
            "12:3: warning: FAIL_OPEN: after a crash, requests bypass the filter; use FAIL_RELOAD \
             [WasmPlugin shop/guard]",
            "26:28: error: inbound.introspection[1].client_secret.env: environment variable \
             `OTHER` is unset or empty; pass it to the VM with vm_config.environment_variables \
             (Istio: vmConfig.env, Envoy Gateway: env.hostKeys) [WasmPlugin shop/guard]",
            "50:29: error: outbound.clients: must define at least one client [EnvoyFilter call, \
             filter oauth2]",
            "57:3: warning: no mode: the sidecar runs the filter on both incoming and outgoing \
             requests; set `match: [{mode: SERVER}]` for incoming requests, or `[{mode: CLIENT}]` \
             for outgoing requests; for a Gateway or waypoint, name it in `targetRefs` instead \
             [WasmPlugin empty]",
            "57:3: error: configuration: missing; expected a JSON document with `inbound`, \
             `outbound` or both (Envoy: `configuration` as google.protobuf.StringValue or Struct; \
             Istio: pluginConfig) [WasmPlugin empty]",
            "3 configurations of the filter, 3 errors, 2 warnings",
        ],
    );
}
