//! A PROXY header is whole, or waited for, or none; and what was decided stays so.

use trysail_edge::proxy_header::{Header, read};

/// No header is longer, of either version.
const LONGEST: usize = 8 * 1024;

pub(crate) fn hold(bytes: &[u8]) {
    let all = read(bytes);
    match all {
        Header::Whole { length, client } => {
            assert!(length <= bytes.len().min(LONGEST), "{length}");
            let alone = read(bytes.get(..length).unwrap_or_default());
            assert_eq!(alone, Header::Whole { length, client }, "what stands behind it changes it");
        }
        // No one is waited for without an end.
        Header::Partial => assert!(bytes.len() < LONGEST),
        Header::Absent | Header::Broken => {}
    }
    let mut cuts = (0..bytes.len().min(300)).chain((300..bytes.len()).step_by(97));
    let early = cuts.find(|cut| {
        let before = read(bytes.get(..*cut).unwrap_or_default());
        before != Header::Partial && before != all
    });
    assert_eq!(early, None, "decided otherwise before");
}
