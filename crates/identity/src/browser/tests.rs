use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

#[test]
fn c11_d12_a_cookie_that_is_there_twice_is_nobodys() {
    let name = Cookie::Gate.name(false);
    let once = headers(&[("cookie", "a=1; __Host-portcullis=x; b=2")]);
    assert_eq!(cookie(&once, name), Ok(Some(&b"x"[..])));
    for twice in [
        headers(&[("cookie", "__Host-portcullis=x; __Host-portcullis=y")]),
        headers(&[("cookie", "__Host-portcullis=x"), ("cookie", "__Host-portcullis=x")]),
        headers(&[("cookie", "__Host-portcullis=x;__Host-portcullis=")]),
    ] {
        assert_eq!(cookie(&twice, name), Err(Twice));
    }
    assert_eq!(cookie(&headers(&[("cookie", "x__Host-portcullis=x")]), name), Ok(None));
}

#[test]
fn n01_no_cookie_of_ours_is_left_and_no_other_is_lost() {
    let mut mixed = headers(&[
        ("cookie", "a=1; __Host-portcullis=x; b; c=; d=\"e=f\""),
        ("cookie", "__host-Portcullis-control=y; portcullis=z; g=h"),
    ]);
    remove_ours(&mut mixed);
    assert_eq!(mixed.get_all("cookie").iter().count(), 1);
    assert_eq!(mixed["cookie"], "a=1; b; c=; d=\"e=f\"; g=h");
    let mut only = headers(&[("cookie", "__Host-portcullis=x")]);
    remove_ours(&mut only);
    assert!(only.is_empty());
}

#[test]
fn c14_whatever_sets_a_cookie_of_ours_is_seen() {
    for ours in [
        "__Host-portcullis=x; Path=/",
        " __Host-portcullis = x",
        "__HOST-PORTCULLIS-control=x",
        "=__Host-portcullis=x",
        "__Secure-portcullis=x",
        "portcullis=x",
    ] {
        assert!(sets_ours(&HeaderValue::from_str(ours).unwrap()), "{ours}");
    }
    for theirs in ["session=__Host-portcullis", "a=b; __Host-portcullis=x", "xportcullis=1", ""] {
        assert!(!sets_ours(&HeaderValue::from_str(theirs).unwrap()), "{theirs}");
    }
}

#[test]
fn n13_only_the_own_origin_or_the_person_causes_something() {
    let own = "https://a.example";
    let by = |method: Method, websocket, pairs: &[(&'static str, &str)]| {
        cause(&method, &headers(pairs), own, websocket) == Cause::Own
    };
    assert!(by(Method::POST, false, &[("origin", own)]));
    assert!(by(Method::POST, false, &[("origin", own), ("sec-fetch-site", "same-origin")]));
    assert!(by(Method::GET, false, &[("sec-fetch-site", "none")]));
    assert!(by(Method::GET, true, &[("origin", own)]));
    let link = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    assert!(by(Method::GET, false, &link));
    assert!(!by(Method::POST, false, &link));
    assert!(!by(Method::GET, true, &link));
    for other in ["https://b.example", "null", "http://a.example", "https://a.example:444", ""] {
        assert!(!by(Method::GET, false, &[("origin", other)]), "{other}");
        assert!(!by(Method::GET, true, &[("origin", other)]), "{other}");
        assert!(!by(Method::POST, false, &[("origin", other), ("sec-fetch-site", "same-origin")]));
    }
    for site in ["cross-site", "same-site", "x", ""] {
        assert!(!by(Method::GET, false, &[("sec-fetch-site", site)]), "{site}");
        assert!(!by(Method::GET, false, &[("origin", own), ("sec-fetch-site", site)]), "{site}");
        let framed = [
            ("sec-fetch-site", site),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "iframe"),
        ];
        assert!(!by(Method::GET, false, &framed), "{site}");
    }
    assert!(!by(Method::GET, false, &[]) && !by(Method::GET, true, &[]));
    assert!(!by(Method::GET, true, &[("sec-fetch-site", "same-origin")]));
}

#[test]
fn d14_a_sign_in_leads_back_to_the_same_origin_only() {
    for good in ["/", "/a/b?c=d&e=/f//g", "/a%20b", "/~x"] {
        assert_eq!(return_path(good), good);
    }
    let long = format!("/{}", "a".repeat(2000));
    for bad in [
        "//evil.example",
        "/\\evil.example",
        "/%09/evil.example",
        "/%2F/evil.example",
        "/%5cevil.example",
        "https:evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "evil",
        "",
        "/a b",
        "/\u{e9}",
        "/a\r\nSet-Cookie: x",
        "/\t/evil",
        "/.portcullis/sign-out",
        &long,
    ] {
        assert_eq!(return_path(bad), "/", "{bad}");
    }
}

#[test]
fn cookies_are_set_for_this_host_and_no_script() {
    let set = Cookie::Gate.set(false, "x", 60).unwrap();
    let wanted = "__Host-portcullis=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure";
    assert_eq!(set.to_str().unwrap(), wanted);
    assert!(set.is_sensitive());
}
