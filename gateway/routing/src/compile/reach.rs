//! Which conditions of a VirtualService no request can reach, since earlier ones take all that they take.
//!
//! Istio's validation compares prefixes, and takes a block without a method for one of GET. Here a block is only
//! said to be idle if every condition of an earlier one follows from its own, so what is said is true; what is
//! not said may still be idle (patterns are only compared as written).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::matches::Block;
use crate::diagnostic::{Code, Severity};
use crate::origin::At;
use crate::snapshot::{Match, Test, ValueTest};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::HttpRoute;

/// The blocks met so far of one VirtualService, by the prefix of the path that they ask for.
#[derive(Default)]
pub(super) struct Reach {
    blocks: BTreeMap<String, Vec<(Arc<str>, Block)>>,
    /// The first rule that takes every request, through whichever server.
    all: Option<Arc<str>>,
}

/// Of blocks with one prefix at most this many are compared, so that a VirtualService of many rules costs no more
/// than its length.
const COMPARED: usize = 64;

impl Reach {
    /// Says which blocks of a rule are idle, and notes the others. `blocks` are the compiled ones of `written`; those
    /// that could not be compiled are missing, and then nothing is said.
    pub(super) fn look(
        &mut self,
        name: &Arc<str>,
        written: &At<HttpRoute>,
        blocks: &[Block],
        sink: &mut Sink<'_>,
    ) {
        if blocks.len() != written.matches.len() {
            return;
        }
        if let Some(all) = &self.all {
            let message = format!("this rule can never match: {all} already takes every request");
            sink.add(Severity::Warning, Code::UNREACHABLE_RULE, written.pos, message);
            return;
        }
        let mut idle: Vec<(usize, Arc<str>)> = Vec::new();
        for (index, block) in blocks.iter().enumerate() {
            match self.taker(block) {
                Some(name) => idle.push((index, name)),
                None => self.note(name, block),
            }
        }
        if blocks.is_empty()
            || blocks.iter().any(|block| block.applies_everywhere() && block.conditions.takes_all())
        {
            self.all = Some(name.clone());
        }
        if !idle.is_empty() && idle.len() == blocks.len() {
            let mut takers: Vec<&str> = Vec::new();
            for (_, taker) in idle.iter().filter(|(_, taker)| taker != name) {
                if !takers.contains(&&**taker) {
                    takers.push(taker);
                }
            }
            let take = if takers.len() == 1 { "takes" } else { "take" };
            let message =
                format!("this rule can never match: {} already {take} all that it takes", takers.join(", "));
            sink.add(Severity::Warning, Code::UNREACHABLE_RULE, written.pos, message);
            return;
        }
        // Blocks that were put together with a root's are nobody's to mend.
        let idle = if sink.root.is_none() { idle } else { Vec::new() };
        for (index, other) in idle {
            let Some(block) = written.matches.get(index) else { continue };
            let by = if other == *name { "an earlier one of the same rule" } else { &*other };
            let message = format!("match[{index}] has no effect: {by} already takes all that it takes");
            sink.add(Severity::Note, Code::INEFFECTIVE_MATCH, block.pos, message);
        }
    }

    fn note(&mut self, name: &Arc<str>, block: &Block) {
        let blocks = self.blocks.entry(prefix(&block.conditions).to_ascii_lowercase()).or_default();
        if blocks.len() < COMPARED {
            blocks.push((name.clone(), block.clone()));
        }
    }

    /// The rule with a block that takes all that a block takes: its prefix is one of the block's.
    fn taker(&self, block: &Block) -> Option<Arc<str>> {
        let prefix = prefix(&block.conditions).to_ascii_lowercase();
        let ends = prefix.char_indices().map(|(at, _)| at).chain([prefix.len()]);
        let mut earlier = ends.filter_map(|end| self.blocks.get(prefix.get(..end)?)).flatten();
        earlier.find(|(_, wide)| covers(wide, block)).map(|(name, _)| name.clone())
    }
}

/// What a block's path begins with, as far as it says.
fn prefix(block: &Match) -> &str {
    let path = block.conditions.iter().find_map(|condition| match &condition.test {
        Test::Path(test) => Some(test),
        _ => None,
    });
    match path {
        Some(
            ValueTest::Exact(text)
            | ValueTest::ExactIgnoringCase(text)
            | ValueTest::Prefix(text)
            | ValueTest::PrefixIgnoringCase(text),
        ) => text,
        Some(ValueTest::Regex(_) | ValueTest::Present) | None => "",
    }
}

/// Whether every request that `narrow` takes is one that `wide` takes.
fn covers(wide: &Block, narrow: &Block) -> bool {
    let gateways = wide.gateways.is_empty()
        || !narrow.gateways.is_empty()
            && narrow.gateways.iter().all(|gateway| wide.gateways.contains(gateway));
    let source = wide.source_is_us || !wide.gateways.is_empty();
    let port = wide.port.is_none() || wide.port == narrow.port;
    let follows = |test: &Test| {
        is_nothing(test)
            || narrow.conditions.conditions.iter().any(|condition| implies(&condition.test, test))
    };
    gateways && source && port && wide.conditions.conditions.iter().all(|condition| follows(&condition.test))
}

/// Whether it holds for every request: paths begin with `/`.
fn is_nothing(test: &Test) -> bool {
    match test {
        Test::Path(ValueTest::Prefix(prefix) | ValueTest::PrefixIgnoringCase(prefix)) => {
            matches!(&**prefix, "" | "/")
        }
        Test::Path(ValueTest::Regex(pattern)) => pattern.as_str() == ".*",
        _ => false,
    }
}

fn implies(narrow: &Test, wide: &Test) -> bool {
    match (narrow, wide) {
        (Test::Path(narrow), Test::Path(wide))
        | (Test::Target(narrow), Test::Target(wide))
        | (Test::Method(narrow), Test::Method(wide))
        | (Test::Scheme(narrow), Test::Scheme(wide))
        | (Test::Authority(narrow), Test::Authority(wide)) => lies_within(narrow, wide),
        (Test::Header(name, narrow), Test::Header(other, wide)) => name == other && lies_within(narrow, wide),
        (Test::Query(name, narrow), Test::Query(other, wide)) => name == other && lies_within(narrow, wide),
        (Test::WithoutHeader(name, narrow), Test::WithoutHeader(other, wide)) => {
            name == other && same(narrow, wide)
        }
        _ => false,
    }
}

fn same(a: &ValueTest, b: &ValueTest) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

fn lies_within(narrow: &ValueTest, wide: &ValueTest) -> bool {
    use ValueTest::{Exact, ExactIgnoringCase, Prefix, PrefixIgnoringCase, Present, Regex};
    match (wide, narrow) {
        (Present, _) => true,
        (Exact(wide), Exact(narrow)) => wide == narrow,
        (ExactIgnoringCase(wide), Exact(narrow) | ExactIgnoringCase(narrow)) => {
            wide.eq_ignore_ascii_case(narrow)
        }
        (Prefix(wide), Exact(narrow) | Prefix(narrow)) => narrow.starts_with(&**wide),
        (
            PrefixIgnoringCase(wide),
            Exact(narrow) | Prefix(narrow) | ExactIgnoringCase(narrow) | PrefixIgnoringCase(narrow),
        ) => narrow.get(..wide.len()).is_some_and(|start| start.eq_ignore_ascii_case(wide)),
        (Regex(wide), Regex(narrow)) => wide.as_str() == narrow.as_str(),
        _ => false,
    }
}
