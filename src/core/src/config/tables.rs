//! The documentation of all keys.

use super::key_table::KeyTable;
use super::{
    client, cors, endpoint, forward, grants, header_tests, inbound, jwt, mcp, metadata, outbound,
    policy, servers, sources, values,
};

/// The tables of the reference, in its order.
pub const KEY_TABLES: [&KeyTable; 23] = [
    &values::SECRET_TABLE,
    &values::SDS_TABLE,
    &endpoint::ENDPOINT_TABLE,
    &inbound::INBOUND_TABLE,
    &servers::SERVER_TABLE,
    &servers::WHEN_TABLE,
    &jwt::JWT_TABLE,
    &sources::SOURCE_TABLE,
    &policy::TEST_TABLE,
    &inbound::CACHE_TABLE,
    &policy::RULE_TABLE,
    &header_tests::HEADER_TABLE,
    &mcp::MCP_TABLE,
    &forward::FORWARD_TABLE,
    &forward::CLAIM_TABLE,
    &metadata::METADATA_TABLE,
    &cors::CORS_TABLE,
    &inbound::SENDER_TABLE,
    &outbound::OUTBOUND_TABLE,
    &client::CLIENT_TABLE,
    &grants::GRANT_TABLE,
    &client::REFRESH_TABLE,
    &outbound::RULE_TABLE,
];
