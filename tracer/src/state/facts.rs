//! What a state means to the person who looks at it, and what to check when a connection stays in it.
//!
//! Every figure is the kernel's default, from `Documentation/networking/ip-sysctl.rst` and the
//! sources named with each state; the timeouts of SYN, SYN-ACK, `FIN_WAIT_2` and `TIME_WAIT` were
//! measured as well. Where no figure is given, there is no fixed one.

mod close;
mod open;

use super::State;

/// Which end of a connection is found in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that listens.
    Server,
    /// The one that connects.
    Client,
    /// Either.
    Both,
    /// The one that closes first.
    FirstCloser,
    /// The one that closes second.
    SecondCloser,
    /// Both at once, when neither closes first.
    BothClosers,
}

impl Side {
    /// Key in JSON.
    pub fn key(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Both => "both",
            Self::FirstCloser => "first_closer",
            Self::SecondCloser => "second_closer",
            Self::BothClosers => "both_closers",
        }
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Both => "both sides",
            Self::FirstCloser => "side that closes first",
            Self::SecondCloser => "side that closes second",
            Self::BothClosers => "both, closing at once",
        }
    }
}

/// One thing to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it is about, and how to read what the command prints.
    pub text: &'static str,
    /// A command for Linux; names in capitals are to be replaced.
    pub command: Option<&'static str>,
}

const fn note(text: &'static str) -> Check {
    Check {
        text,
        command: None,
    }
}

const fn run(command: &'static str, text: &'static str) -> Check {
    Check {
        text,
        command: Some(command),
    }
}

/// What is known about one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Who sees it.
    pub side: Side,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// How long it lasts, and what ends it.
    pub lasts: &'static str,
    /// What to look at when a connection stays in it, or when there are many.
    pub checks: &'static [Check],
    /// What the tracepoint `sock:inet_sock_set_state` shows of it.
    pub on_tracepoint: &'static str,
    /// Where this comes from.
    pub sources: &'static [&'static str],
}

impl Facts {
    /// The first check whose command begins so.
    pub fn check(&self, begins: &str) -> Option<&'static Check> {
        self.checks.iter().find(|check| {
            check
                .command
                .is_some_and(|command| command.starts_with(begins))
        })
    }
}

impl State {
    /// What is known about this state; nothing about a number without a name.
    pub fn facts(self) -> Option<&'static Facts> {
        match self {
            Self::Listen => Some(&open::LISTEN),
            Self::SynSent => Some(&open::SYN_SENT),
            Self::SynReceived => Some(&open::SYN_RECEIVED),
            Self::NewSynReceived => Some(&open::NEW_SYN_RECEIVED),
            Self::Established => Some(&open::ESTABLISHED),
            Self::BoundInactive => Some(&open::BOUND_INACTIVE),
            Self::FinWait1 => Some(&close::FIN_WAIT_1),
            Self::FinWait2 => Some(&close::FIN_WAIT_2),
            Self::CloseWait => Some(&close::CLOSE_WAIT),
            Self::Closing => Some(&close::CLOSING),
            Self::LastAck => Some(&close::LAST_ACK),
            Self::TimeWait => Some(&close::TIME_WAIT),
            Self::Closed => Some(&close::CLOSED),
            Self::Unknown(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_state_has_facts() {
        for state in State::ALL {
            assert!(state.facts().is_some(), "{state}");
        }
        assert_eq!(State::Unknown(17).facts(), None);
    }

    #[test]
    fn texts_are_plain_sentences() {
        for state in State::ALL {
            let facts = state.facts().unwrap();
            let sentences = [facts.meaning, facts.lasts, facts.on_tracepoint];
            let checks = facts.checks.iter().map(|check| check.text);
            for text in sentences.into_iter().chain(checks) {
                assert!(text.is_ascii(), "{state}: {text}");
                assert!(!text.contains("  "), "{state}: {text}");
                assert!(text.ends_with('.'), "{state}: {text}");
            }
            assert!(!facts.summary.ends_with('.'), "{state}");
            assert!(!facts.sources.is_empty(), "{state}");
        }
    }

    #[test]
    fn commands_can_be_copied_from_an_80_column_terminal() {
        for state in State::ALL {
            for command in state
                .facts()
                .unwrap()
                .checks
                .iter()
                .filter_map(|c| c.command)
            {
                assert!(command.len() <= 74, "{state}: {command}");
            }
        }
    }
}
