use super::*;
use crate::oauth::token_sources::TokenSources;

fn scheme(header: &str, scheme: &str) -> TokenSource {
    TokenSource::Scheme { header: header.into(), scheme: scheme.into() }
}

fn all() -> Vec<TokenSource> {
    vec![
        scheme("authorization", "Bearer"),
        scheme("x-auth", "Token"),
        TokenSource::Header("x-token".into()),
        TokenSource::Query("access_token".into()),
        TokenSource::Cookie("at".into()),
    ]
}

fn look(headers: &[(&str, &str)]) -> Result<Option<(String, Removal)>, Reason> {
    look_in(&all(), headers)
}

fn look_in(
    places: &[TokenSource],
    headers: &[(&str, &str)],
) -> Result<Option<(String, Removal)>, Reason> {
    let head = headers.iter().copied().collect::<Fields>();
    let sources = TokenSources { places: places.to_vec(), ..TokenSources::default() };
    let Some(found) = sources.find(&head, &|_| false)? else { return Ok(None) };
    let token = found.token.parse(sources.max_bytes)?.reveal().to_owned();
    Ok(Some((token, found.removals.first)))
}

fn remove(header: &str) -> Removal {
    Removal::Remove(header.into())
}

fn replace(header: &str, value: &str) -> Removal {
    Removal::Replace(header.into(), value.into())
}

#[test]
fn a_token_is_found_in_each_place_and_can_be_taken_out_there() {
    type Headers<'h> = &'h [(&'h str, &'h str)];
    let table: [(Headers<'_>, &str, Removal); 12] = [
        (&[("authorization", "Bearer t")], "t", remove("authorization")),
        (&[("x-auth", "token t")], "t", remove("x-auth")),
        (&[("x-token", "t")], "t", remove("x-token")),
        (&[(":path", "/a?access_token=t")], "t", replace(":path", "/a")),
        (&[(":path", "/a?access_token=t&b=1")], "t", replace(":path", "/a?b=1")),
        (&[(":path", "/a?x&access_token=t&b=1")], "t", replace(":path", "/a?x&b=1")),
        (&[(":path", "/a?b=%20&access%5Ftoken=t%2F")], "t/", replace(":path", "/a?b=%20")),
        (&[("cookie", "at=t")], "t", remove("cookie")),
        (&[("cookie", "a=1; at=t; b=2")], "t", replace("cookie", "a=1; b=2")),
        (&[("cookie", "a=1"), ("cookie", "at=t")], "t", replace("cookie", "a=1")),
        (&[("cookie", "at=\"t\"")], "t", remove("cookie")),
        (&[("cookie", "xat=1;at=t==")], "t==", replace("cookie", "xat=1")),
    ];
    for (headers, token, removal) in table {
        assert_eq!(look(headers), Ok(Some((token.to_owned(), removal))), "{headers:?}");
    }
}

#[test]
fn rs_6750_03_two_tokens_are_one_too_many_wherever_they_are() {
    let table: [&[(&str, &str)]; 12] = [
        &[("authorization", "Bearer t"), (":path", "/?access.token=t")],
        &[(":path", "/?access_token=t&access_token[]=t")],
        &[(":path", "/?access_token=t&+access_token=t")],
        &[("cookie", "at=t; at[]=u")],
        &[("authorization", "Bearer t"), ("x-token", "t")],
        &[("authorization", "Bearer t"), (":path", "/?access_token=t")],
        &[("x-token", "t"), ("cookie", "at=t")],
        &[("x-token", "t"), ("x-token", "t")],
        &[(":path", "/?access_token=t&access_token=t")],
        &[("cookie", "at=t; at=u")],
        &[("cookie", "at=t"), ("cookie", "at=u")],
        &[("x-auth", "Token t,Token u")],
    ];
    for headers in table {
        assert_eq!(look(headers), Err(Reason::RepeatedToken), "{headers:?}");
    }
}

#[test]
fn what_only_looks_like_a_token_is_none() {
    let table: [&[(&str, &str)]; 11] = [
        &[],
        &[("authorization", "Basic dTpw")],
        &[("x-token", "")],
        &[(":path", "/?access_token=")],
        &[(":path", "/?a&access_token")],
        &[("cookie", "at=")],
        &[("cookie", "a=1; at=\"\"; b=2")],
        &[(":path", "/access_token=t")],
        &[(":path", "/?access_tokens=t&Access_Token=t")],
        &[("cookie", "At=t; xat=t; at")],
        &[("x-auth", "Bearer t")],
    ];
    for headers in table {
        assert_eq!(look(headers), Ok(None), "{headers:?}");
    }
}

#[test]
fn an_empty_value_is_no_token_beside_one_and_two_values_are_too_many() {
    let found = |token: &str, removal| Ok(Some((token.to_owned(), removal)));
    for (headers, expected) in [
        ([("cookie", "at="), ("x-token", "t")], found("t", remove("x-token"))),
        ([(":path", "/?access_token="), ("x-token", "t")], found("t", remove("x-token"))),
        ([("cookie", "at="), ("cookie", "at=t")], Err(Reason::RepeatedToken)),
        ([("x-token", ""), ("x-token", "t")], Err(Reason::RepeatedToken)),
        ([("cookie", "at=; at[]=u"), ("x-a", "")], Err(Reason::RepeatedToken)),
        ([("cookie", "at[]="), ("x-token", "t")], Err(Reason::RepeatedToken)),
    ] {
        assert_eq!(look(&headers), expected, "{headers:?}");
    }
}

#[test]
fn a_variant_of_its_name_is_a_malformed_token() {
    for headers in [
        [(":path", "/?access_token[]=t")],
        [(":path", "/?a=1;access_token=t")],
        [("cookie", "a%74=t")],
        [("cookie", "at[]=t")],
        [("cookie", "at[]=")],
        [("x-token", "a b")],
        [("x-auth", "Token\tt")],
    ] {
        assert_eq!(look(&headers), Err(Reason::MalformedToken), "{headers:?}");
    }
}

#[test]
fn a_websocket_hands_over_its_token_in_the_list_of_subprotocols() {
    let sources = [TokenSource::WebSocketProtocol("bearer".into())];
    let (malformed, repeated) = (Err(Reason::MalformedToken), Err(Reason::RepeatedToken));
    let found = |token: &str, removal| Ok(Some((token.to_owned(), removal)));
    let rest = |rest| replace(WEBSOCKET_PROTOCOL, rest);
    let table: [(&[&str], _); 26] = [
        (&["bearer, t"], found("t", remove(WEBSOCKET_PROTOCOL))),
        (&["bearer,t,chat"], found("t", rest("chat"))),
        (&["chat.v1,  bearer , t-._~+/== ,, v2"], found("t-._~+/==", rest("chat.v1, v2"))),
        (&["bearer,, t, chat"], found("t", rest("chat"))),
        // Several headers are one list.
        (&["chat", "bearer, t"], found("t", rest("chat"))),
        (&["bearer, t", "chat, v2"], found("t", rest("chat, v2"))),
        (&["chat, bearer", "t, v2"], found("t", rest("chat, v2"))),
        (&[], Ok(None)),
        (&["", ","], Ok(None)),
        (&["chat, bearers, x-bearer, bearer.v1"], Ok(None)),
        (&["bearer"], malformed.clone()),
        (&["chat, bearer"], malformed.clone()),
        (&["bearer, a b"], malformed.clone()),
        (&["bearer, \"t\""], malformed.clone()),
        (&["Bearer, t"], malformed.clone()),
        (&["chat, BEARER"], malformed.clone()),
        (&["\"bearer\", t"], malformed.clone()),
        (&["\"bearer, t\""], malformed.clone()),
        (&["bearer t"], malformed.clone()),
        (&["bearer=t, chat"], malformed.clone()),
        (&["chat\tbearer, t"], malformed),
        (&["bearer, bearer"], repeated.clone()),
        (&["bearer, bearer, t"], repeated.clone()),
        (&["bearer, t, bearer, t"], repeated.clone()),
        (&["bearer, t", "Bearer, u"], repeated.clone()),
        (&["Bearer, bearer, t"], repeated),
    ];
    for (values, expected) in table {
        let headers: Vec<_> = values.iter().map(|value| (WEBSOCKET_PROTOCOL, *value)).collect();
        assert_eq!(look_in(&sources, &headers), expected, "{values:?}");
    }
}

#[test]
fn the_password_of_basic_credentials_is_a_token() {
    let sources = [TokenSource::authorization(), TokenSource::BasicPassword];
    let (malformed, repeated) = (Err(Reason::MalformedToken), Err(Reason::RepeatedToken));
    let found = |token: &str| Ok(Some((token.to_owned(), remove(AUTHORIZATION))));
    let table: [(&[&str], _); 20] = [
        // user:t, :t, ü:t, and a user name with a colon, which the first one ends.
        (&["Basic dXNlcjp0"], found("t")),
        (&["basic  OnQ="], found("t")),
        (&["BASIC w7w6dA=="], found("t")),
        (&["Bearer t"], found("t")),
        (&["Basic dXNlcjo="], Ok(None)),
        (&["Basicx dXNlcjp0"], Ok(None)),
        (&["Digest a=\"b\", c=\"d\""], Ok(None)),
        (&["Basic"], malformed.clone()),
        (&["Basic "], malformed.clone()),
        // No colon, several, a blank, a byte that is no UTF-8.
        (&["Basic dXNlcg=="], malformed.clone()),
        (&["Basic dXNlcjphOmI="], malformed.clone()),
        (&["Basic dXNlcjphIGI="], malformed.clone()),
        (&["Basic dXNlcjr/"], malformed.clone()),
        // Padding, an alphabet and last bits that are not those of RFC 4648, section 4.
        (&["Basic OnQ"], malformed.clone()),
        (&["Basic OnR="], malformed.clone()),
        (&["Basic dX-_cjp0"], malformed.clone()),
        (&["Basic dXNl cjp0"], malformed),
        (&["Basic dXNlcjp0,Basic dXNlcjp0"], repeated.clone()),
        (&["Basic dXNlcjp0", "Bearer t"], repeated.clone()),
        (&["Digest a=\"b\", Basic dXNlcjp0"], repeated),
    ];
    for (values, expected) in table {
        let headers: Vec<_> = values.iter().map(|value| (AUTHORIZATION, *value)).collect();
        assert_eq!(look_in(&sources, &headers), expected, "{values:?}");
    }
}
