//! Which side ended a connection first, in words that say how: not every end is a close.

use crate::diagnose::{ClosedBy, Diagnosis, Verdict};
use crate::state::State;
use crate::track::Connection;

/// `the peer refused it`; `None` where nobody ended it, or it is not known who did.
pub(super) fn first_to_end(conn: &Connection, diagnosis: &Diagnosis) -> Option<&'static str> {
    let first = diagnosis.closed_by?;
    let closed = match first {
        ClosedBy::Local => "this side closed first",
        ClosedBy::Remote => "the peer closed first",
        ClosedBy::Both => "both sides closed at once",
    };
    // What came after a FIN was not the first.
    if conn.steps.iter().any(|step| is_after_a_fin(step.state)) {
        return Some(closed);
    }
    Some(match (diagnosis.verdict, first) {
        (Verdict::Refused, ClosedBy::Remote) => "the peer refused it",
        (Verdict::Cancelled, ClosedBy::Local) => "this side gave it up",
        (Verdict::ResetByPeer, ClosedBy::Remote) => "the peer reset it",
        (Verdict::ResetByUs | Verdict::AcceptQueueLost, ClosedBy::Local) => "this side reset it",
        _ => closed,
    })
}

fn is_after_a_fin(state: State) -> bool {
    matches!(
        state,
        State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait
    )
}

#[cfg(test)]
mod tests {
    use Verdict::{
        Aborted, AcceptQueueLost, Cancelled, Closed, Listener, Open, Refused, ResetByPeer,
        ResetByUs, TimedOut, Unknown, Unreachable,
    };

    use super::*;
    use crate::diagnose::diagnose;
    use crate::diagnose::tests::all;
    use crate::track::tests::Story;

    /// What became of socket A, and who ended it first.
    fn told(events: &[&str]) -> (Verdict, Option<&'static str>) {
        let mut story = Story::patient();
        story.tell(events);
        story.finish();
        let (conn, ending) = story.conn_of("A");
        let found = diagnose(&conn, ending, &all());
        (found.verdict, first_to_end(&conn, &found))
    }

    const SYN: &[&str] = &["A CL>SS task=7 p0"];
    const OPEN: &[&str] = &["A CL>SS p0", "A SS>ES counts=rtt:9"];
    const QUEUED: &[&str] = &[
        "L CL>LI l=0.0.0.0/80 r=0.0.0.0/0",
        "A LI>SR l=10.0.0.1/80",
        "A SR>ES",
    ];
    const LISTENING: &[&str] = &["A CL>LI l=0.0.0.0/80 r=0.0.0.0/0"];

    const LOCAL_FIN: Option<&str> = Some("this side closed first");
    const REMOTE_FIN: Option<&str> = Some("the peer closed first");
    const LOCAL_RESET: Option<&str> = Some("this side reset it");

    type Case = (
        &'static [&'static str],
        &'static [&'static str],
        Verdict,
        Option<&'static str>,
    );

    #[rustfmt::skip]
    const CASES: [Case; 21] = [
        (SYN, &["A rst-in", "A SS>CL counts=err:111", "A error=111"], Refused, Some("the peer refused it")),
        // By ICMP, of the peer's host or of one on the way.
        (SYN, &["A rtx", "A SS>CL counts=err:111,re:1", "A error=111"], Refused, None),
        (SYN, &["A rtx", "A SS>CL counts=err:110,re:1", "A error=110"], TimedOut, None),
        (SYN, &["A SS>CL counts=err:113", "A error=113"], Unreachable, None),
        (SYN, &["A rtx", "A SS>CL counts=re:1"], Cancelled, Some("this side gave it up")),
        (SYN, &["A SS>CL counts=err:103", "A error=103"], Cancelled, Some("this side gave it up")),
        (SYN, &["A SS>CL p0 l=0.0.0.0/0 counts=re:0"], Unknown, None),
        (OPEN, &["A rst-in", "A ES>CL counts=err:104"], ResetByPeer, Some("the peer reset it")),
        (OPEN, &["A ES>CW", "A rst-in", "A CW>CL counts=err:32"], ResetByPeer, REMOTE_FIN),
        (OPEN, &["A ES>F1", "A rst-in", "A F1>CL counts=err:104"], ResetByPeer, LOCAL_FIN),
        (OPEN, &["A ES>CL counts=received:5", "A rst-out=11"], ResetByUs, LOCAL_RESET),
        (OPEN, &["A ES>CW", "A CW>CL counts=received:5", "A rst-out=11"], ResetByUs, REMOTE_FIN),
        (OPEN, &["A ES>CL counts=err:110", "A error=110"], Aborted, None),
        (OPEN, &["A ES>F1", "A F1>CL counts=err:110"], Aborted, LOCAL_FIN),
        (QUEUED, &["L LI>CL", "A ES>CL counts=re:0", "A rst-out=14"], AcceptQueueLost, LOCAL_RESET),
        (OPEN, &["A ES>F1", "A F1>F2", "A F2>CL counts=acked:2"], Closed, LOCAL_FIN),
        (OPEN, &["A ES>CW", "A CW>LA", "A LA>CL counts=acked:2"], Closed, REMOTE_FIN),
        (OPEN, &["A ES>F1", "A F1>CG", "A CG>CL counts=acked:2"], Closed, Some("both sides closed at once")),
        (OPEN, &[], Open, None),
        (OPEN, &["A ES>CW"], Open, REMOTE_FIN),
        (LISTENING, &["A LI>CL"], Listener, None),
    ];

    #[test]
    fn each_verdict_says_who_ended_it_and_how() {
        for (begin, rest, verdict, words) in CASES {
            let events = [begin, rest].concat();
            assert_eq!(told(&events), (verdict, words), "{events:?}");
        }
    }
}
