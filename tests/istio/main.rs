//! The manifests of `envoy/istio`, without Istio: whether they agree with one another, and with the
//! definitions that Istio publishes. `make cluster` runs them under the real control plane.

mod manifests;
mod schemas;
mod yaml;
