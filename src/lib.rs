//! OAuth 2.0 for Envoy and Istio.
