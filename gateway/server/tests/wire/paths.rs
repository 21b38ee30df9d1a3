//! Forms of paths that the setting `pathRefuse` refuses, and those that it lets pass.

use crate::lane::{self, Bench};
use crate::requests::ask;

#[test]
fn forms_are_refused_as_the_setting_says() {
    for (setting, rows) in [
        (
            "pathRefuse: [ALL]\n",
            &[
                ("/a", "200 kept"),
                ("/a%20b?%2f;%00", "200 kept"),
                ("/a%2fb", "400 closed"),
                ("/a%5Cb", "400 closed"),
                ("/a\\\\b", "400 closed"),
                ("/a;b", "400 closed"),
                ("/a%00", "400 closed"),
                ("/a%c0%afb", "400 closed"),
                ("/a%252fb", "400 closed"),
                ("/a%2", "400 closed"),
                ("http://shop.test/a%2fb", "400 closed"),
            ][..],
        ),
        (
            "pathRefuse: [ESCAPED_SLASH, BACKSLASH]\npathNormalization: NONE\n",
            &[("/a;b%00", "200 kept"), ("/a%2Fb", "400 closed"), ("/a%5cb", "400 closed")][..],
        ),
    ] {
        let bench = Bench::with(1, setting);
        for (target, answer) in rows {
            let bytes = lane::bytes(0, &format!("GET {target} HTTP/1.1|host: shop.test||"));
            assert_eq!(ask(&bench, 0, &bytes), *answer, "{setting} {target}");
            let seen = bench.seen(0);
            let passed = answer.starts_with('2');
            assert_eq!(seen.starts_with("GET "), passed, "{setting} {target}: {seen}");
        }
        bench.end();
    }
}
