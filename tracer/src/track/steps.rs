//! The states of one connection, packed: nearly every life fits without an allocation of its own.

use super::Step;
use crate::state::State;

/// States kept inline: `SYN_RECEIVED`, `ESTABLISHED` and the longest way to `CLOSED` from there.
const INLINE: usize = 5;
/// States kept at all. A TCP connection passes through fewer than ten; what does not is no TCP.
pub(super) const MAX_STEPS: usize = 32;
/// Stands for an unknown time.
const UNKNOWN: u64 = u64::MAX;

#[derive(Debug, Default)]
pub(super) struct Steps {
    since_ns: [u64; INLINE],
    /// Kernel numbers. One that does not fit is no state of TCP, and goes where there is room.
    states: [i8; INLINE],
    inline: u8,
    /// The first time is when the connection was found in that state, not when it entered it.
    first_found: bool,
    spilled: Option<Box<Spilled>>,
}

#[derive(Debug, Default)]
struct Spilled {
    steps: Vec<Step>,
}

impl Steps {
    /// Of a connection found in a state that it had entered before.
    pub(super) fn found(state: State, found_ns: u64) -> Self {
        let mut steps = Self {
            first_found: true,
            ..Self::default()
        };
        steps.push(Step {
            state,
            since_ns: Some(found_ns),
        });
        steps
    }

    /// When the connection was found in its first state, if it was.
    pub(super) fn found_ns(&self) -> Option<u64> {
        let found_ns = self.since_ns.first().copied()?;
        (self.first_found && found_ns != UNKNOWN).then_some(found_ns)
    }

    /// Appends a step. True when one in the middle had to go for it; the time of the one after it is
    /// then forgotten, so that no duration spans the hole.
    pub(super) fn push(&mut self, step: Step) -> bool {
        let index = usize::from(self.inline);
        if let (Some(since_ns), Some(state), Ok(number), None) = (
            self.since_ns.get_mut(index),
            self.states.get_mut(index),
            i8::try_from(step.state.to_kernel()),
            &self.spilled,
        ) {
            *since_ns = step.since_ns.unwrap_or(UNKNOWN);
            *state = number;
            self.inline += 1;
            return false;
        }
        let steps = &mut self.spilled.get_or_insert_default().steps;
        let full = steps.len() >= MAX_STEPS - INLINE;
        if full {
            steps.remove(0);
            if let Some(first) = steps.first_mut() {
                first.since_ns = None;
            }
        }
        steps.push(step);
        full
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.inline) + self.spilled().len()
    }

    /// Puts them in the place of what is in `out`.
    pub(super) fn write_to(&self, out: &mut Vec<Step>) {
        out.clear();
        out.extend(self.inline());
        out.extend_from_slice(self.spilled());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Step> + '_ {
        self.inline().chain(self.spilled().iter().copied())
    }

    /// The present state.
    pub(super) fn last(&self) -> Option<Step> {
        match self.spilled().last() {
            Some(step) => Some(*step),
            None => self.inline().next_back(),
        }
    }

    /// The time the present state was entered turns out not to be known.
    pub(super) fn forget_last_time(&mut self) {
        if let Some(step) = self.spilled.as_mut().and_then(|s| s.steps.last_mut()) {
            step.since_ns = None;
        } else if let Some(since_ns) = usize::from(self.inline)
            .checked_sub(1)
            .and_then(|index| self.since_ns.get_mut(index))
        {
            *since_ns = UNKNOWN;
        }
    }

    fn inline(&self) -> impl DoubleEndedIterator<Item = Step> + '_ {
        let all = self.since_ns.iter().zip(&self.states).enumerate();
        all.take(self.inline.into())
            .map(|(index, (&since_ns, &number))| {
                let is_known = since_ns != UNKNOWN && !(index == 0 && self.first_found);
                Step {
                    state: State::from_kernel(number.into()),
                    since_ns: is_known.then_some(since_ns),
                }
            })
    }

    fn spilled(&self) -> &[Step] {
        self.spilled.as_ref().map_or(&[], |spilled| &spilled.steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(state: State, since_ns: Option<u64>) -> Step {
        Step { state, since_ns }
    }

    #[test]
    fn steps_come_back_as_pushed() {
        let mut steps = Steps::default();
        let mut expected = Vec::new();
        for (index, state) in State::ALL.into_iter().enumerate() {
            let step = step(state, (index % 3 != 0).then_some(index as u64));
            assert!(!steps.push(step));
            expected.push(step);
            assert_eq!(steps.last(), Some(step));
            assert_eq!(steps.iter().collect::<Vec<_>>(), expected);
            assert_eq!(steps.len(), expected.len());
        }
    }

    #[test]
    fn a_number_that_no_state_has_keeps_its_place() {
        for numbers in [
            [1, 400, 4, 7],
            [-2_000_000_000, 1, 2, 3],
            [1, 127, -128, 128],
        ] {
            let mut steps = Steps::default();
            let expected = numbers.map(|number| step(State::from_kernel(number), Some(1)));
            for step in expected {
                assert!(!steps.push(step));
                assert_eq!(steps.last(), Some(step));
            }
            assert_eq!(steps.iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_state_it_was_found_in_has_no_beginning() {
        let mut steps = Steps::found(State::Established, 7);
        assert_eq!(steps.last(), Some(step(State::Established, None)));
        assert_eq!((steps.found_ns(), steps.len()), (Some(7), 1));
        steps.push(step(State::CloseWait, Some(9)));
        assert_eq!(steps.last(), Some(step(State::CloseWait, Some(9))));
        assert_eq!(steps.found_ns(), Some(7));
        let mut forgotten = Steps::found(State::Established, 7);
        forgotten.forget_last_time();
        assert_eq!(forgotten.found_ns(), None);
        assert_eq!(forgotten.last(), Some(step(State::Established, None)));
    }

    #[test]
    fn the_time_of_the_last_step_can_be_forgotten_inline_and_spilled() {
        let mut steps = Steps::default();
        for since_ns in 0..INLINE as u64 + 2 {
            steps.push(step(State::Established, Some(since_ns)));
            steps.forget_last_time();
            assert_eq!(steps.last(), Some(step(State::Established, None)));
        }
        assert!(steps.iter().all(|step| step.since_ns.is_none()));
    }

    #[test]
    fn too_many_steps_leave_a_hole_in_the_middle_and_no_duration_across_it() {
        let mut steps = Steps::default();
        for since_ns in 0..MAX_STEPS as u64 {
            assert!(!steps.push(step(State::Established, Some(since_ns))));
        }
        assert!(steps.push(step(State::Closed, Some(99))));
        let kept: Vec<_> = steps.iter().map(|step| step.since_ns).collect();
        let mut expected: Vec<_> = (0..MAX_STEPS as u64).map(Some).collect();
        expected.remove(INLINE);
        expected[INLINE] = None;
        expected.push(Some(99));
        assert_eq!(kept, expected);
    }
}
