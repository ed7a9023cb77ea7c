//! What the commands print: plain where nobody looks, colours and spinners on a terminal.

use alloy_primitives::{
    Address, B256, U256,
    utils::{UnitsError, format_ether, format_units, parse_units},
};
use indicatif::ProgressBar;
use std::{fmt::Display, io::IsTerminal, time::Duration};

/// A spinner with a message; nothing where output is no terminal.
pub fn spinner(message: impl Into<String>) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message.into());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// How text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Bold,
    Dim,
    Green,
    Red,
    Yellow,
}

/// The text with an escape sequence around it, on a terminal that NO_COLOR does not forbid it.
pub fn paint(style: Paint, text: impl Display) -> String {
    if !is_terminal() || std::env::var_os("NO_COLOR").is_some() {
        return text.to_string();
    }
    let code = match style {
        Paint::Bold => 1,
        Paint::Dim => 2,
        Paint::Green => 32,
        Paint::Red => 31,
        Paint::Yellow => 33,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Seconds in the two largest units.
pub fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        if left >= unit && parts.len() < 2 {
            parts.push(format!("{} {name}", left / unit));
        } else if !parts.is_empty() {
            break;
        }
        left %= unit;
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// Wei as ether, without zeros at the end.
pub fn ether(wei: U256) -> String {
    trimmed(format_ether(wei))
}

/// A token's amount.
pub fn units(amount: U256, decimals: u8) -> Result<String, UnitsError> {
    Ok(trimmed(format_units(amount, decimals)?))
}

/// The inverse of [`units`]; negative amounts are none.
pub fn parse_amount(text: &str, decimals: u8) -> Result<U256, UnitsError> {
    if text.starts_with('-') {
        return Err(UnitsError::InvalidUnit(text.to_owned()));
    }
    Ok(parse_units(text, decimals)?.get_absolute())
}

fn trimmed(text: String) -> String {
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The first four bytes.
pub fn short(hash: B256) -> String {
    format!("0x{:x}…", u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]))
}

/// The first and the last two bytes.
pub fn short_address(address: Address) -> String {
    let text = address.to_string();
    format!("{}…{}", &text[..6], &text[38..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (604_799, "6 d 23 h"),
            (86_460, "1 d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn amounts_are_read_as_they_are_written() {
        let wei = U256::from(1_500_000_000_000_000_000u64);
        assert_eq!(ether(wei), "1.5");
        assert_eq!(parse_amount("1.5", 18).expect("an amount"), wei);
        assert_eq!(units(U256::from(1_000_000), 6).expect("units"), "1");
        assert_eq!(ether(U256::from(10) * wei), "15");
        assert!(parse_amount("-1", 18).is_err());
        assert!(parse_amount("one", 18).is_err());
    }
}
