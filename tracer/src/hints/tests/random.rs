//! Any lives of a few sockets, looked at now and then.

use proptest::prelude::*;

use super::*;

const AFTER_MS: u64 = 50;

#[derive(Clone, Debug)]
enum Input {
    Move { socket: usize, choice: usize },
    Wait(u64),
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let input = prop_oneof![
        3 => (0..3_usize, any::<usize>()).prop_map(|(socket, choice)| Input::Move { socket, choice }),
        2 => (1..2 * AFTER_MS).prop_map(Input::Wait),
    ];
    proptest::collection::vec(input, 0..80)
}

/// Where a connection may go from a state, by the names of the story.
fn next(state: &str) -> &'static [&'static str] {
    match state {
        "CL" => &["SS"],
        "SS" => &["ES", "SR", "CL"],
        "SR" => &["ES", "F1", "CL"],
        "ES" => &["F1", "CW", "CL"],
        "F1" => &["F2", "CG", "CL"],
        "F2" => &["F2", "CL"],
        "CW" => &["LA", "CL"],
        _ => &["CL"],
    }
}

proptest! {
    #[test]
    fn each_long_stay_is_told_of_once_and_nothing_else_is(inputs in inputs()) {
        let mut desk = Desk::new(AFTER_MS * 1_000_000);
        let mut states = ["CL"; 3];
        // When each socket entered its state, and whether its present stay was told of.
        let mut stays = [(0_u64, false); 3];
        let mut expected = 0;
        for input in &inputs {
            match *input {
                Input::Move { socket, choice } => {
                    let from = states[socket];
                    let to = next(from)[choice % next(from).len()];
                    desk.tell(&format!("{} {from}>{to}", ["A", "B", "C"][socket]));
                    states[socket] = to;
                    if from != to {
                        stays[socket] = (desk.story.now_ns(), false);
                    }
                }
                Input::Wait(ms) => {
                    desk.tell(&format!("+{ms}ms"));
                    let now_ns = desk.story.now_ns();
                    for (state, (since_ns, told)) in states.iter().zip(&mut stays) {
                        let is_long = now_ns - *since_ns >= AFTER_MS * 1_000_000;
                        if is_long && !*told && !matches!(*state, "CL" | "ES") {
                            *told = true;
                            expected += 1;
                        }
                    }
                }
            }
        }

        let mut seen = HashSet::new();
        for told in &desk.told {
            let stay = told.stay.unwrap();
            prop_assert!(stay.lasted_ns >= AFTER_MS * 1_000_000, "{told:?}");
            prop_assert_eq!(told.mono_ns - stay.since_ns, stay.lasted_ns);
            prop_assert!(seen.insert((told.conn, told.hint.name)), "twice: {:?}", told);
        }
        // One of fin_unacknowledged and fin_unsent covers several states, but is told once.
        let repeated = expected - desk.told.len();
        let closing = desk.told.iter().filter(|told| told.hint.name.starts_with("fin_un"));
        prop_assert!(repeated <= closing.count(), "{} of {}", desk.told.len(), expected);
    }
}
