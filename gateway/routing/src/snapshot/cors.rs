//! Which other sites' pages may call: the answer to their preflights, and what answers to them say.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::predicate::ValueTest;
use super::request::Request;

/// Fields of an answer.
pub type Fields = Vec<(HeaderName, HeaderValue)>;

/// Istio `CorsPolicy`. What is asked for beside the origin is not compared with the lists; a browser does that.
#[derive(Debug, Default)]
pub struct Cors {
    /// The origins that may call.
    pub origins: Vec<ValueTest>,
    /// What may be asked for by method.
    pub methods: Option<Listed>,
    /// What may be asked for with which fields.
    pub headers: Option<Listed>,
    /// What pages may see of answers.
    pub expose: Option<HeaderValue>,
    /// How long a browser may remember the answer to a preflight; whole seconds.
    pub max_age: Option<Duration>,
    /// Whether calls may carry cookies.
    pub credentials: bool,
    /// Whether preflights of other origins are answered here too, without a word on origins.
    pub ignores_unmatched: bool,
}

/// A list of methods or fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// `*`: whatever is asked for is said back.
    Any,
    /// These, joined by commas.
    These(HeaderValue),
}

impl Listed {
    fn say(&self, asked: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Listed::Any => asked.cloned(),
            Listed::These(these) => Some(these.clone()),
        }
    }
}

impl Cors {
    /// The fields of the 200 that a request is answered with, if it is a preflight that is answered here.
    pub fn preflight(&self, request: &Request<'_>) -> Option<Fields> {
        let asked = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|method| !method.is_empty());
        let origin = request.headers.get(ORIGIN).filter(|origin| !origin.is_empty());
        let (Some(asked), Some(origin), "OPTIONS") = (asked, origin, request.method) else { return None };
        let allowed = self.allows(origin);
        if !allowed && !self.ignores_unmatched {
            return None;
        }
        let mut fields = Fields::new();
        let mut put = |name: HeaderName, value: Option<HeaderValue>| {
            fields.extend(value.map(|value| (name, value)));
        };
        put(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.then(|| origin.clone()));
        put(ACCESS_CONTROL_ALLOW_CREDENTIALS, self.credentials.then(|| HeaderValue::from_static("true")));
        put(ACCESS_CONTROL_ALLOW_METHODS, self.methods.as_ref().and_then(|listed| listed.say(Some(asked))));
        let asked = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        put(ACCESS_CONTROL_ALLOW_HEADERS, self.headers.as_ref().and_then(|listed| listed.say(asked)));
        put(ACCESS_CONTROL_MAX_AGE, self.max_age.map(|age| age.as_secs().into()));
        Some(fields)
    }

    /// What the answer to a request says, over what the upstream says; nothing where its origin may not call.
    pub fn answer(&self, headers: &HeaderMap) -> Fields {
        let Some(origin) = headers.get(ORIGIN).filter(|origin| !origin.is_empty() && self.allows(origin))
        else {
            return Fields::new();
        };
        let mut fields = vec![(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())];
        if self.credentials {
            fields.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        }
        fields.extend(self.expose.clone().map(|expose| (ACCESS_CONTROL_EXPOSE_HEADERS, expose)));
        fields
    }

    /// Envoy: an entry that takes the text `*` takes every origin.
    fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|test| test.holds(b"*") || test.holds(origin.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fields: &[(HeaderName, HeaderValue)]) -> String {
        let line = |(name, value): &(HeaderName, HeaderValue)| {
            format!("{}={}", name.as_str().trim_start_matches("access-control-"), value.to_str().unwrap())
        };
        fields.iter().map(line).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn preflights_and_answers_as_envoy_gives_them() {
        let listed = |text: &'static str| Some(Listed::These(HeaderValue::from_static(text)));
        let full = || Cors {
            origins: vec![ValueTest::Exact("https://a.test".into())],
            methods: listed("GET,POST"),
            headers: listed("x-a"),
            expose: Some(HeaderValue::from_static("x-b")),
            max_age: Some(Duration::from_secs(86_400)),
            credentials: true,
            ignores_unmatched: false,
        };
        let any = Cors {
            origins: vec![ValueTest::Exact("*".into())],
            methods: Some(Listed::Any),
            headers: Some(Listed::Any),
            ..Cors::default()
        };
        let (mine, other) = ("https://a.test", "https://b.test");
        let all = "allow-credentials=true allow-methods=GET,POST allow-headers=x-a max-age=86400";
        for (cors, method, origin, asked, preflight, answer) in [
            (
                full(),
                "OPTIONS",
                mine,
                "PUT",
                Some(format!("allow-origin={mine} {all}")),
                "allow-origin=https://a.test allow-credentials=true expose-headers=x-b",
            ),
            (full(), "OPTIONS", other, "PUT", None, ""),
            (Cors { ignores_unmatched: true, ..full() }, "OPTIONS", other, "PUT", Some(all.to_owned()), ""),
            (full(), "OPTIONS", "", "PUT", None, ""),
            (
                Cors { credentials: false, ..full() },
                "OPTIONS",
                mine,
                "",
                None,
                "allow-origin=https://a.test expose-headers=x-b",
            ),
            (
                any,
                "OPTIONS",
                other,
                "PUT",
                Some(format!("allow-origin={other} allow-methods=PUT allow-headers=x-z")),
                "allow-origin=https://b.test",
            ),
            (
                Cors { expose: None, ..full() },
                "GET",
                mine,
                "PUT",
                None,
                "allow-origin=https://a.test allow-credentials=true",
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, origin.parse().unwrap());
            headers.insert(ACCESS_CONTROL_REQUEST_METHOD, asked.parse().unwrap());
            headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, "x-z".parse().unwrap());
            let request =
                Request { authority: "", method, scheme: "http", path: "/", query: None, headers: &headers };
            assert_eq!(
                cors.preflight(&request).map(|fields| text(&fields)),
                preflight,
                "{method} {origin:?} {asked:?}"
            );
            assert_eq!(text(&cors.answer(&headers)), answer, "{method} {origin:?} {asked:?}");
        }
    }
}
