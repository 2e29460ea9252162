//! The filter as a dynamic module of Envoy, in place of the WebAssembly module: if `FILTER_HOST` is
//! `native`.

use std::{
    env,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::{Value, json};

use super::{WasmPlugin, workspace};

/// What a log line of the filter contains, in the host that is chosen.
pub fn log_mark() -> &'static str {
    if is_chosen() { "[dynamic_modules]" } else { "wasm log" }
}

/// The name of the logger of the filter, in the host that is chosen.
pub fn logger() -> &'static str {
    if is_chosen() { "dynamic_modules" } else { "wasm" }
}

/// Whether tests run the dynamic module.
pub fn is_chosen() -> bool {
    env::var_os("FILTER_HOST").is_some_and(|host| host == "native")
}

/// The variables of all plugins of this process, which every Envoy gets: a dynamic module reads the
/// environment of Envoy itself.
static VARIABLES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// The variables for Envoy.
pub(super) fn variables() -> Vec<(String, String)> {
    VARIABLES.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What the bootstrap needs for the dynamic module: what makes its calls, and the names of metrics
/// in Prometheus' format.
pub(super) fn bootstrap() -> Value {
    bootstrap_with(&module())
}

fn bootstrap_with(module: &Value) -> Value {
    json!({
        "bootstrap_extensions": [{
            "name": "envoy.bootstrap.dynamic_modules",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.bootstrap.dynamic_modules.v3.\
                    DynamicModuleBootstrapExtension",
                "dynamic_module_config": module,
                "extension_name": "oauth2",
            },
        }],
        "layered_runtime": {"layers": [{"name": "names", "static_layer": {
            "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix": true,
        }}]},
    })
}

/// The file of the module. Panics if it has not been built.
pub fn file() -> PathBuf {
    built("liboauth2_filter.so")
}

fn built(name: &str) -> PathBuf {
    let file = workspace().join("target").join(name);
    assert!(file.is_file(), "no {}: run `make native`", file.display());
    file
}

/// The module. Panics if it has not been built.
fn module() -> Value {
    module_in(&file())
}

/// The module in this file.
fn module_in(file: &Path) -> Value {
    json!({
        "module": {"local": {"filename": file}},
        "do_not_close": true,
        "metrics_namespace": "wasmcustom",
    })
}

/// The filter with requests that make its hooks panic, whichever host tests run.
pub fn that_panics(plugin: &WasmPlugin) -> Value {
    let mut config = typed_config(&plugin.0);
    config["dynamic_module_config"] = module_in(&built("liboauth2_filter_panics.so"));
    config
}

/// The configuration of the filter that corresponds to that of a Wasm plugin. Panics if the module
/// has not been built.
pub(super) fn typed_config(plugin: &Value) -> Value {
    static PLUGINS: AtomicU32 = AtomicU32::new(0);
    let mut configuration = plugin["configuration"].clone();
    let variables = plugin["vm_config"]["environment_variables"]["key_values"].as_object();
    let number = PLUGINS.fetch_add(1, Ordering::Relaxed);
    for (name, value) in variables.into_iter().flatten() {
        // Plugins may have different values of one name, Envoy cannot.
        let own = format!("{name}_{number}");
        if let Some(text) = configuration["value"].as_str()
            && let Ok(mut document) = serde_json::from_str(text)
        {
            rename(&mut document, name, &own);
            configuration["value"] = document.to_string().into();
        }
        let value = value.as_str().unwrap_or_default().to_owned();
        VARIABLES.lock().unwrap_or_else(PoisonError::into_inner).push((own, value));
    }
    let mut config = json!({
        "@type": FILTER,
        "dynamic_module_config": module(),
        "filter_name": "oauth2",
    });
    if !configuration.is_null() {
        config["filter_config"] = configuration;
    }
    config
}

/// How a configuration names the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its file.
    File,
    /// By its name, for an Envoy whose environment has [`SEARCH_PATH`].
    Name,
}

/// The variable that names the folder in which Envoy looks for modules.
pub const SEARCH_PATH: &str = "ENVOY_DYNAMIC_MODULES_SEARCH_PATH";

/// The text of a file in `envoy/` with the dynamic module in place of the WebAssembly module.
/// Panics if the file has another form, or the module has not been built.
pub fn in_place(text: &str, named: Named) -> String {
    let mut module = module();
    if named == Named::Name {
        let fields = module.as_object_mut().expect("an object");
        fields.remove("module");
        fields.insert("name".to_owned(), "oauth2_filter".into());
    }
    let (before, rest) = text.split_once(WASM).expect("a WebAssembly module");
    let (_, document) = rest.split_once(" configuration:\n").expect("its configuration");
    let indent = " ".repeat(before.len() - before.trim_end_matches(' ').len());
    let bootstrap = bootstrap_with(&module);
    let top: String = ["bootstrap_extensions", "layered_runtime"]
        .map(|field| format!("{field}: {}\n", bootstrap[field]))
        .concat();
    format!(
        "{top}{before}\"@type\": {FILTER}\n{indent}dynamic_module_config: {module}\n\
         {indent}filter_name: oauth2\n{indent}filter_config:\n{document}"
    )
}

/// The type of the filter with a WebAssembly module, as files have it.
const WASM: &str = "\"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n";

/// The type of the filter with a dynamic module.
const FILTER: &str =
    "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";

/// Renames a variable wherever a document names it.
fn rename(value: &mut Value, name: &str, own: &str) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                if key == "env" && value == name {
                    *value = own.into();
                }
                rename(value, name, own);
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|value| rename(value, name, own)),
        _ => {}
    }
}
