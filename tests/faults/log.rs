//! What a child printed about its work, and what can be said of it whatever happened.

/// One line of `strewn_tests::workload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A cut of this step was about to be made.
    Trying(u64),
    /// It is durable.
    Durable(u64),
    /// It failed, as this kind, with this text.
    Failed(u64, String, String),
    /// The heap had to be opened again.
    Poisoned(String),
    /// What was refused, as which kind, with which text; a second try did it.
    Refused(String, String, String),
    /// Opened at this step; at the end of all work; or by the process that looked afterwards.
    Opened(u64),
    /// All else.
    Other(String),
}

/// All lines of a child.
///
/// # Errors
/// A line that says that something is wrong.
pub fn parse(stdout: &str) -> Result<Vec<Event>, String> {
    stdout.lines().map(event).collect()
}

fn event(line: &str) -> Result<Event, String> {
    let mut words = line.splitn(3, ' ');
    let (verb, second, rest) = (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
    let step = || second.parse().map_err(|_| format!("no step: {line}"));
    let (kind, text) = rest.split_once(' ').unwrap_or((rest, ""));
    Ok(match verb {
        "trying" => Event::Trying(step()?),
        "durable" => Event::Durable(step()?),
        "failed" => Event::Failed(step()?, kind.to_owned(), text.to_owned()),
        "poisoned" => Event::Poisoned(format!("{second} {rest}")),
        "refused" => Event::Refused(second.to_owned(), kind.to_owned(), text.to_owned()),
        "opened" | "done" => Event::Opened(step()?),
        "found" if second != "nothing" => Event::Opened(step()?),
        "closed" | "readable" | "found" => Event::Other(line.to_owned()),
        _ => return Err(format!("the child said: {line}")),
    })
}

/// Follows what was promised from line to line: a heap is opened at what was said to be durable last, or at a cut that was tried since.
///
/// # Errors
/// The line that breaks a promise.
pub fn check_promises(events: &[Event]) -> Result<(), String> {
    let (mut durable, mut tried) = (0, Vec::new());
    for event in events {
        match event {
            Event::Trying(step) => tried.push(*step),
            Event::Durable(step) => {
                durable = *step;
                tried.retain(|later| later > step);
            }
            Event::Opened(step) => {
                if *step != durable && !tried.contains(step) {
                    return Err(format!("opened at step {step}: durable was {durable}, tried since were {tried:?}"));
                }
                (durable, tried) = (*step, Vec::new());
            }
            Event::Other(text) if text == "found nothing" && (durable, tried.len()) != (0, 0) => {
                return Err(format!("found no heap: durable was {durable}, tried since were {tried:?}"));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_is_found() {
        let check = |text: &str| check_promises(&parse(text).unwrap());
        check("trying 10\ndurable 10\ntrying 20\nopened 20").unwrap();
        check("trying 10\ndurable 10\ntrying 20\nfound 10").unwrap();
        check("found nothing").unwrap();
        for wrong in ["trying 10\ndurable 10\nopened 0", "trying 10\nopened 5", "trying 10\ndurable 10\nfound nothing"]
        {
            check(wrong).unwrap_err();
        }
        parse("stuck create Io x").unwrap_err();
        parse("WRONG bytes").unwrap_err();
    }
}
