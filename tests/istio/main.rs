//! The manifests of `envoy/istio`: what Istio makes of them, in the real Envoy.
//!
//! There is no cluster here. [`istiod`] does what Istio's control plane and its agent do with these
//! objects, and [`sidecar`] runs the result, with nothing replaced but where things are.

mod calling;
mod guarding;
mod istiod;
mod manifests;
mod schemas;
mod sidecar;
mod yaml;
