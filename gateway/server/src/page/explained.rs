//! The form that asks why a request goes where it goes, and the answer.

use maud::{Markup, html};

use super::Question;

/// Methods that are offered; the link may name any.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];

/// The form, with what was asked and the answer to it.
pub(super) fn section(question: &Question, answer: Option<&Result<String, String>>) -> Markup {
    let method = if question.method.is_empty() { "GET" } else { question.method.as_str() };
    html! {
        section id="explain" aria-labelledby="explain-title" {
            h2 id="explain-title" { "Explain " small { "why a request goes where it goes" } }
            form.explain action="/#explain" {
                select name="method" aria-label="Method" {
                    @if !METHODS.contains(&method) { option selected { (method) } }
                    @for known in METHODS { option selected[known == method] { (known) } }
                }
                input name="url" value=(question.url) placeholder="http://shop.test/reviews/0" aria-label="URL" required;
                button { "Explain" }
                textarea name="headers" rows="2" placeholder="end-user: jason" aria-label="Header fields, one in a line" {
                    (question.headers)
                }
            }
            @match answer {
                None => { p.soft { "No request is sent. The answer names the file and line of every rule that was asked." } }
                Some(Ok(text)) => { pre.answer { (text) } }
                Some(Err(said)) => { p.notice role="alert" { strong.bad { "✗ " (said) } } }
            }
        }
    }
}
