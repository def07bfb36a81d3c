//! Which transitions of the selected connections are shown.

use std::error::Error;

use crate::state::State;

/// State left and state entered; `None` is any.
pub type TransitionPattern = (Option<State>, Option<State>);

/// Selects transitions. The default shows every one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Show {
    /// States left or entered.
    pub states: Vec<State>,
    /// Patterns of transitions.
    pub transitions: Vec<TransitionPattern>,
}

impl Show {
    /// Whether a transition is shown: both lists must agree, and an empty one always does.
    pub fn shows(&self, from: State, to: State) -> bool {
        let by_state = self.states.is_empty()
            || self
                .states
                .iter()
                .any(|state| *state == from || *state == to);
        let by_pair = self.transitions.is_empty()
            || self.transitions.iter().any(|(wanted_from, wanted_to)| {
                wanted_from.is_none_or(|state| state == from)
                    && wanted_to.is_none_or(|state| state == to)
            });
        by_state && by_pair
    }
}

/// Why a text is not a transition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError<E: Error> {
    /// Not two states.
    #[error("`{0}` is not a transition: write `FROM->TO`, with `*` for any state")]
    Form(String),
    /// One of the states is not one.
    #[error(transparent)]
    State(E),
}

/// Reads `FROM->TO`, `FROM:TO` or `FROM→TO`, where `*` is any state.
///
/// `parse_states` reads one side; it may know names for groups of states, so that one text can stand
/// for several transitions.
pub fn parse_transition<E: Error>(
    text: &str,
    parse_states: impl Fn(&str) -> Result<Vec<State>, E>,
) -> Result<Vec<TransitionPattern>, TransitionError<E>> {
    let (from, to) = ["->", "→", ":"]
        .iter()
        .find_map(|arrow| text.split_once(arrow))
        .map(|(from, to)| (from.trim(), to.trim()))
        .filter(|(from, to)| !from.is_empty() && !to.is_empty())
        .ok_or_else(|| TransitionError::Form(text.to_owned()))?;
    let side = |name: &str| match name {
        "*" => Ok(vec![None]),
        name => parse_states(name)
            .map(|states| states.into_iter().map(Some).collect::<Vec<_>>())
            .map_err(TransitionError::State),
    };
    let to = side(to)?;
    Ok(side(from)?
        .into_iter()
        .flat_map(|from| to.iter().map(move |to| (from, *to)))
        .collect())
}
