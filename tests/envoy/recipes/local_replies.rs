//! What `docs/recipes/public-paths-and-cors.md` has to change the filter's responses.

use std::fs;

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::workspace;
use serde_json::json;

use super::yaml;
use crate::set_up::{BOTH, ENDPOINT, Ends, inactive, listener, plugin};

#[tokio::test(flavor = "multi_thread")]
async fn responses_of_the_filter_are_changed_and_keep_their_challenge() {
    let page = fs::read_to_string(workspace().join("docs/recipes/public-paths-and-cors.md"));
    let page = page.expect("the page");
    let (_, block) = page.split_once("```yaml\nlocal_reply_config:").expect("the block");
    let (block, _) = block.split_once("```").expect("its end");
    let block = yaml::documents(&format!("local_reply_config:{block}")).expect("YAML");
    let [fields] = <[_; 1]>::try_from(block).expect("one document");

    let ends = Ends::start().await;
    let inbound = json!({"rules": [
        {"paths": ["/status/**"], "access": "public"}, {"paths": ["/orders"], "scope": "read"},
    ]});
    let listener = listener(&plugin(inbound)).connection_manager(fields);
    let bootstrap = ends.bootstrap().listener(listener);
    let set_up = ends.with(bootstrap).await;
    set_up.server.on(ENDPOINT, inactive());
    for http in BOTH {
        for (request, reason) in [
            (Request::get("/orders"), "oauth2_no_token"),
            (Request::get("/orders").bearer("bad"), "oauth2_inactive"),
        ] {
            let answer = http.send(&request, set_up.address()).await;
            assert_eq!(answer.status, 401, "{http:?}");
            assert_eq!(answer.json(), json!({"title": "Sign in", "status": 401, "reason": reason}));
            assert_eq!(answer.header("content-type").as_deref(), Some("application/problem+json"));
            assert!(answer.headers.contains("x-login"), "{http:?} {answer:?}");
            let challenge = answer.header("www-authenticate").expect("the challenge");
            assert!(challenge.contains(r#"scope="read""#), "{challenge}");
        }
        // Others, and those of the service, stay as they are.
        let denied = http.send(&Request::get("/other"), set_up.address()).await;
        assert_eq!((denied.status, &denied.json()["error"]), (403, &json!("access_denied")));
        let answer = http.send(&Request::get("/status/401"), set_up.address()).await;
        assert_eq!((answer.status, answer.headers.contains("x-login")), (401, false));
        assert_eq!(answer.json()["path"], "/status/401");
    }
}
