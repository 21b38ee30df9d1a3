//! Preflights are answered here, and answers to other sites' pages say who may read them.

use trysail_testkit::origin::Answer;

use crate::gateway::Reviews;

const RULES: &str = "  - match: [{uri: {exact: /cors}}]
    corsPolicy:
      allowOrigins: [{exact: https://a.test}]
      allowMethods: [GET, PUT]
      allowHeaders: [x-a]
      exposeHeaders: [x-version]
      maxAge: 10m
      allowCredentials: true
    headers: {response: {set: {x-rule: cors}}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /nobody}}]
    corsPolicy: {allowOrigins: [{exact: https://a.test}]}
    route: [{destination: {host: reviews, subset: v2}}]
";

#[test]
fn preflights_and_answers() {
    let reviews = Reviews::start(&["v1"]);
    let own = Answer::version("v1").header("access-control-allow-origin", "https://upstream.test");
    reviews.origins["v1"].set_answer(own);
    let (_folder, gateway) = reviews.gateway(RULES, "");
    let mut client = gateway.client();
    let mut ask = |method: &str, path: &str, origin: &str, asked: Option<&str>| {
        let mut headers = vec![("origin", origin)];
        headers.extend(asked.map(|asked| ("access-control-request-method", asked)));
        client.request(method, "a", path, &headers, None).expect("an answer")
    };
    let (mine, other) = ("https://a.test", "https://b.test");

    let preflight = ask("OPTIONS", "/cors", mine, Some("DELETE"));
    assert_eq!((preflight.status, preflight.body.len(), preflight.version()), (200, 0, None));
    for (name, value) in [
        ("access-control-allow-origin", mine),
        ("access-control-allow-methods", "GET,PUT"),
        ("access-control-allow-headers", "x-a"),
        ("access-control-allow-credentials", "true"),
        ("access-control-max-age", "600"),
    ] {
        assert_eq!(preflight.header(name), Some(value), "{name}");
    }
    assert_eq!(preflight.header("x-rule"), None, "a preflight is not the rule's answer");
    assert_eq!(reviews.origins["v1"].requests(), 0);

    let forwarded = ask("OPTIONS", "/cors", other, Some("GET"));
    assert_eq!(
        (forwarded.version(), forwarded.header("access-control-allow-origin")),
        (Some("v1"), Some("https://upstream.test"))
    );
    let answer = ask("GET", "/cors", mine, None);
    assert_eq!(answer.header("access-control-allow-origin"), Some(mine));
    assert_eq!(answer.header("access-control-expose-headers"), Some("x-version"));
    assert_eq!(answer.header("x-rule"), Some("cors"));
    // An answer of the gateway's own, so that the page can read why.
    let nobody = ask("GET", "/nobody", mine, None);
    assert_eq!((nobody.status, nobody.header("access-control-allow-origin")), (503, Some(mine)));
}
