use std::io;

use super::*;
use crate::{
    authorization_server::{AuthorizationServer, Options, SHOP},
    upstream::Upstream,
};

#[tokio::test]
async fn without_the_filter_the_story_does_not_come_out_right() {
    let server = AuthorizationServer::start(Options::default()).await.unwrap();
    let service = Upstream::start().await;
    let scene = Scene {
        envoy: service.address(),
        server: Server::ours(server.address()),
        user: SHOP,
        max_ttl: Duration::ZERO,
    };
    let mut page = Page::new(false, io::sink());
    play(&scene, &mut page).await;
    // Right are the public path, and that a token passes before and just after its revocation.
    // The scope that a token lacks is no step: x-user was missing in the one before.
    assert_eq!((page.steps(), page.failures()), (8, 5));
}
