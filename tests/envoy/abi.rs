//! The functions that the dynamic module calls, in the Envoy that is tested. `make matrix` looks at
//! those of other versions.

use oauth2_filter_testbed::envoy::{self, native, symbols};

#[test]
fn envoy_has_every_function_that_the_dynamic_module_calls() {
    if !native::is_chosen() {
        return;
    }
    let (calls, exports) = (symbols::calls(&native::file()), symbols::exports(&envoy::binary()));
    assert!(calls.required.contains("http_get_header"), "{calls:?}");
    assert!(calls.optional.contains("http_filter_config_increment_counter"), "{calls:?}");
    let missing: Vec<_> = calls.required.difference(&exports).collect();
    assert!(missing.is_empty(), "Envoy would not load the module: {missing:?}");
}
