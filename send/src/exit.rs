//! Exit codes of `tidemark send`. Scripts branch on them, so none is ever given a second meaning. Those below 64 are this
//! command's own; the others are the program's.

pub use service::exit::{DATA, IO, NO_INPUT, OK, USAGE};

/// All was sent, and some rows were refused: they lie in the side file.
pub const REFUSED: u8 = 2;
/// Stopped by Ctrl-C or SIGTERM; the same command goes on where it stopped.
pub const INTERRUPTED: u8 = 3;
/// The server could not be reached, or did not take the rows after all tries; the same command goes on where it stopped.
pub const UNREACHABLE: u8 = 4;

/// Of the codes of two files the one that says more: what stopped the run before what is wrong with a file, and that before
/// what is wrong with rows.
pub(crate) fn worse(one: u8, other: u8) -> u8 {
    let weight = |code: u8| match code {
        OK => 0,
        REFUSED => 1,
        INTERRUPTED => 3,
        UNREACHABLE => 4,
        _ => 2,
    };
    if weight(other) > weight(one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_codes_the_one_that_says_more_is_given() {
        for (one, other, expected) in [
            (OK, REFUSED, REFUSED),
            (REFUSED, OK, REFUSED),
            (REFUSED, DATA, DATA),
            (NO_INPUT, INTERRUPTED, INTERRUPTED),
            (UNREACHABLE, DATA, UNREACHABLE),
        ] {
            assert_eq!(worse(one, other), expected);
        }
    }
}
