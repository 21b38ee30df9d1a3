//! Bookinfo's reviews, as the sample answers: v1 without ratings, v2 with black stars, v3 with red ones.

use async_trait::async_trait;
use http::{Response, StatusCode};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;

/// One version of the service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reviews {
    pub(super) version: &'static str,
    stars: Option<&'static str>,
}

/// The three versions.
pub(super) const VERSIONS: [Reviews; 3] = [
    Reviews { version: "v1", stars: None },
    Reviews { version: "v2", stars: Some("black") },
    Reviews { version: "v3", stars: Some("red") },
];

#[async_trait]
impl ServeHttp for Reviews {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let path = session.req_header().uri.path();
        let (status, body) = match path.strip_prefix("/reviews/") {
            Some(id) if !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) => {
                (StatusCode::OK, self.reviews(id))
            }
            _ => (
                StatusCode::NOT_FOUND,
                format!("{{\"error\": \"try /reviews/0 (reviews-{})\"}}", self.version),
            ),
        };
        let mut response = Response::new(body.into_bytes());
        *response.status_mut() = status;
        let length = response.body().len();
        let headers = response.headers_mut();
        headers.insert("content-type", http::HeaderValue::from_static("application/json"));
        headers.insert("content-length", http::HeaderValue::from(length));
        response
    }
}

impl Reviews {
    fn reviews(&self, id: &str) -> String {
        let review = |reviewer: &str, text: &str, stars: u8| {
            let rating = match self.stars {
                None => String::new(),
                Some(colour) => format!(", \"rating\": {{\"stars\": {stars}, \"color\": \"{colour}\"}}"),
            };
            format!("{{\"reviewer\": \"{reviewer}\", \"text\": \"{text}\"{rating}}}")
        };
        let first = "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!";
        let second = "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare.";
        format!(
            "{{\"id\": \"{id}\", \"podname\": \"reviews-{}\", \"clustername\": \"null\", \"reviews\": [{}, {}]}}",
            self.version,
            review("Reviewer1", first, 5),
            review("Reviewer2", second, 4),
        )
    }
}

/// The version that gave an answer, by the name it gives itself.
pub(super) fn version_of(body: &[u8]) -> Option<&'static str> {
    let name = |reviews: &&Reviews| {
        let name = format!("\"reviews-{}\"", reviews.version);
        body.windows(name.len()).any(|window| window == name.as_bytes())
    };
    VERSIONS.iter().find(name).map(|reviews| reviews.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_differ_as_in_the_sample() {
        for (reviews, stars) in VERSIONS.iter().zip([None, Some("black"), Some("red")]) {
            let body = reviews.reviews("0");
            let json: serde_json::Value = serde_json::from_str(&body).unwrap();
            let colour = &json["reviews"][0]["rating"]["color"];
            assert_eq!(colour.as_str(), stars);
            assert_eq!(version_of(body.as_bytes()), Some(reviews.version));
        }
    }
}
