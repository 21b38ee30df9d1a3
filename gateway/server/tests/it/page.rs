//! The admin page in a real browser: what it shows, that it follows, keys, names for those who hear it, and no guests.
//!
//! Pictures of it, light and dark, are left in the build's temporary directory for whoever wants to look.

use std::fs;
use std::io::{Write, stderr};
use std::path::Path;

use serde_json::{Value, json};
use trysail_testkit::browser::{self, Browser};
use trysail_testkit::client::Client;
use trysail_testkit::folder::Folder;
use trysail_testkit::load::Plan;
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, Reviews, weighted};

/// Enter, escape, arrow down and tab, as WebDriver writes them.
const ENTER: &str = "\u{E007}";
const ESCAPE: &str = "\u{E00C}";
const DOWN: &str = "\u{E015}";

/// A browser, or `None` where there is none to start; in CI there is one.
fn browser() -> Option<Browser> {
    if !browser::is_there() {
        assert!(std::env::var_os("CI").is_none(), "CI has a browser");
        let _ = writeln!(stderr(), "skipped: no browser; apt-get install chromium chromium-driver");
        return None;
    }
    Some(Browser::start(1400, 1000).expect("a browser"))
}

/// What a script says, until it is what it should be.
fn becomes(browser: &Browser, what: &str, script: &str) {
    eventually(PATIENCE, what, || browser.run(script).is_ok_and(|said| said == Value::Bool(true)));
}

/// Leaves a picture.
fn keep(browser: &Browser, name: &str) {
    let picture = browser.picture().expect("a picture");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(path, picture).expect("a place for it");
}

#[test]
fn the_page_shows_the_split_follows_it_and_is_found_by_keys() {
    let Some(browser) = browser() else { return };
    let reviews = Reviews::start(&["v1", "v2", "v3"]);
    let folder = reviews.folder();
    folder.write("seed-reviews.yaml", &weighted(90, 10));
    let gateway = Gateway::start(folder.path());
    let admin = gateway.logged("admin on ");
    let load = Plan::new(gateway.address(), "shop.test", "/reviews/0").threads(2).start();
    browser.open(&format!("http://{admin}/")).expect("the page opens");
    let text = |selector: &str| format!("(document.querySelector('{selector}')?.textContent ?? '')");
    becomes(&browser, "the card", &format!("return {}.includes('default/reviews http[0]')", text("#splits")));
    becomes(
        &browser,
        "its place",
        &format!("return {}.includes('seed-reviews.yaml:')", text("#splits .place")),
    );
    becomes(&browser, "on ratio", &format!("return {}.includes('on-ratio')", text("#splits .verdict")));
    becomes(
        &browser,
        "the observed share",
        "const cells = [...document.querySelectorAll('#splits tbody tr')].map(row => row.cells[3].textContent);
         return cells.length == 2 && cells[0].startsWith('90.') | cells[0].startsWith('89.9') ? true : false",
    );
    keep(&browser, "page-light.png");
    let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
    browser.chrome("Emulation.setEmulatedMedia", &dark).expect("dark");
    keep(&browser, "page-dark.png");
    let ground = browser.run("return getComputedStyle(document.body).backgroundColor").expect("a colour");
    assert_eq!(ground, "rgb(20, 23, 26)");

    // An edit is seen without a reload of the page.
    browser.run("window.same = true").expect("a mark");
    gateway.after(|| folder.write("seed-reviews.yaml", &weighted(60, 40)), "in force after");
    becomes(
        &browser,
        "the new weights",
        "return window.same === true && document.querySelector('#splits tbody tr').cells[2].textContent == '60.0 %'",
    );
    becomes(&browser, "history", &format!("return {}.includes('90 → 60')", text("#history")));
    // So is a change that is refused, with the finding and its place.
    gateway.after(|| folder.write("broken.yaml", "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: x}\nspec: {servers: 7}\n"), "revision refused");
    becomes(&browser, "the refusal", &format!("return {}.includes('broken.yaml:4')", text("[role=alert]")));
    folder.remove("broken.yaml");
    becomes(&browser, "no refusal any more", &format!("return {} === ''", text("#notice [role=alert]")));

    // By keys alone.
    browser.press("/").expect("a key");
    becomes(&browser, "search has the focus", "return document.activeElement.id === 'q'");
    browser.press("nothing-of-the-kind").expect("keys");
    becomes(&browser, "nothing is found", "return document.querySelectorAll('article.card').length === 0");
    browser.press(ESCAPE).expect("a key");
    becomes(&browser, "all is there again", "return document.querySelectorAll('article.card').length === 1");
    browser.press(DOWN).expect("a key");
    becomes(&browser, "the card has the focus", "return document.activeElement.matches('article.card')");
    browser.press("?").expect("a key");
    becomes(&browser, "the keys are told", "return document.querySelector('#keys').open");
    browser.press(ESCAPE).expect("a key");
    becomes(&browser, "and put away", "return !document.querySelector('#keys').open");

    // The form answers with the trace, by a link that keeps it.
    let fill = "document.querySelector('#explain [name=url]').value = 'http://shop.test/reviews/0';
                document.querySelector('#explain [name=url]').focus()";
    browser.run(fill).expect("a form");
    browser.press(ENTER).expect("a key");
    becomes(
        &browser,
        "the trace",
        &format!("return {}.includes('default/reviews http[0]')", text("#explain pre")),
    );
    becomes(&browser, "the link", "return location.search.includes('url=')");

    let tally = load.stop();
    assert!(tally.failed == 0, "{:?}", tally.failures);
    drop(gateway);
    becomes(&browser, "a lost connection says so", "return document.querySelector('#lost').hidden === false");
}

#[test]
fn the_page_is_for_those_who_hear_it_too_and_has_no_guests() {
    let Some(browser) = browser() else { return };
    let reviews = Reviews::start(&["v1", "v2"]);
    let (_folder, gateway) = reviews.gateway("", "");
    let admin = gateway.logged("admin on ");
    let ask = |path| {
        let mut client = Client::connect(admin).expect("the admin port accepts");
        client.get("localhost", path, &[("accept", "text/html")]).expect("an answer")
    };
    let (page, parts) = (ask("/"), ["/page.css", "/page.js"].map(ask));
    assert!(parts.iter().all(|part| part.status == 200));
    let size = page.body.len() + parts.iter().map(|part| part.body.len()).sum::<usize>();
    assert!(size < 100 << 10, "{size} bytes");
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'"))
    );
    // It is whole without a script.
    assert!(page.text().contains("default/reviews http[0]"), "{}", page.text());

    browser.open(&format!("http://{admin}/")).expect("the page opens");
    for (selector, role) in [
        ("input, textarea", &["textbox", "searchbox"][..]),
        ("select", &["combobox"]),
        ("a", &["link"]),
        ("main button", &["button"]),
        ("section", &["region"]),
        ("svg", &["img", "image", "graphics-document"]),
        ("th[scope=col]", &["columnheader"]),
        ("main tbody th", &["rowheader"]),
    ] {
        let spoken = browser.spoken(selector).expect("names");
        assert!(!spoken.is_empty(), "{selector}");
        for (is, name) in spoken {
            assert!(role.contains(&is.as_str()) && !name.trim().is_empty(), "{selector}: {is} {name:?}");
        }
    }
    let levels = browser
        .run("return [...document.querySelectorAll('h1,h2,h3')].map(title => +title.tagName[1])")
        .expect("headings");
    let levels: Vec<i64> = levels.as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
    assert_eq!(levels.first(), Some(&1));
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    let landmarks = browser.run("return ['header', 'nav', 'main', '[role=search]'].map(part => document.querySelectorAll(part).length >= 1)");
    assert_eq!(landmarks.expect("landmarks"), json!([true, true, true, true]));
    let asked = browser
        .run("return [...new Set(performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin))]")
        .expect("what was asked");
    assert_eq!(asked, json!([format!("http://{admin}")]));
}

#[test]
fn the_page_follows_while_the_gateway_works_at_its_limit_on_many_routes() {
    let Some(browser) = browser() else { return };
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = Folder::new();
    folder.write("endpoints.yaml", &reviews.service_entry());
    let mut objects = weighted(50, 50);
    let rule = |n: usize| {
        format!(
            "  - match: [{{uri: {{prefix: /app-{n}/}}}}]\n    route:\n    - {{destination: {{host: reviews, subset: v1}}, weight: 75}}\n    \
             - {{destination: {{host: reviews, subset: v2}}, weight: 25}}\n"
        )
    };
    for virtual_service in 0..50 {
        let rules: String = (0..20).map(|n| rule(virtual_service * 20 + n)).collect();
        objects.push_str(&format!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: many-{virtual_service}}}\nspec:\n  \
             hosts: [\"h{virtual_service}.test\"]\n  gateways: [reviews-gateway]\n  http:\n{rules}"
        ));
    }
    folder.write("objects.yaml", &objects);
    let gateway = Gateway::start(folder.path());
    let admin = gateway.logged("admin on ");
    let load = Plan::new(gateway.address(), "h7.test", "/app-149/x").threads(16).start();
    browser.open(&format!("http://{admin}/")).expect("the page opens");
    browser.press("/").expect("a key");
    browser.press("app-149").expect("keys");
    becomes(&browser, "one card", "return document.querySelectorAll('article.card').length === 1");
    let count = "return +document.querySelector('#splits tbody tr').cells[4].textContent.replaceAll(',', '')";
    let first = browser.run(count).expect("a count").as_f64().unwrap_or(0.0);
    becomes(&browser, "the count goes on", &format!("{count} > {first}"));
    let tally = load.stop();
    assert!(tally.failed == 0, "{:?}", tally.failures);
}
