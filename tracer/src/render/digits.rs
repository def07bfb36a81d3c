//! Numbers and addresses as text. Most of a line is made of them, and `write!` takes several times as long.

use std::fmt::{self, Write};
use std::net::IpAddr;

/// Appends a number in decimal.
pub(crate) fn write_number(out: &mut impl Write, number: impl itoa::Integer) -> fmt::Result {
    out.write_str(itoa::Buffer::new().format(number))
}

/// Appends the last `digits` decimal digits of a number, nine at most.
pub(crate) fn write_last_digits(out: &mut impl Write, digits: u32, number: u32) -> fmt::Result {
    let beyond = 10_u32.pow(digits);
    // One digit more in front keeps the zeros.
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(beyond + number % beyond);
    out.write_str(text.get(1..).unwrap_or_default())
}

/// Appends `0x` and the sixteen digits of a number in hexadecimal.
pub(crate) fn write_hex(out: &mut impl Write, number: u64) -> fmt::Result {
    let mut text = *b"0x0000000000000000";
    let mut rest = number;
    for digit in text.iter_mut().skip(2).rev() {
        let value = (rest & 15) as u8;
        *digit = if value < 10 { b'0' } else { b'a' - 10 } + value;
        rest >>= 4;
    }
    out.write_str(str::from_utf8(&text).unwrap_or_default())
}

/// Appends an address, as `IpAddr` displays it.
pub(crate) fn write_addr(out: &mut impl Write, addr: IpAddr) -> fmt::Result {
    match addr {
        IpAddr::V4(v4) => {
            let [first, rest @ ..] = v4.octets();
            write_number(out, first)?;
            rest.into_iter().try_for_each(|octet| {
                out.write_char('.')?;
                write_number(out, octet)
            })
        }
        IpAddr::V6(v6) => write!(out, "{v6}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
        let mut text = String::new();
        write(&mut text).unwrap();
        text
    }

    proptest! {
        #[test]
        fn they_are_what_display_says(number: u64, short: u32, addr: IpAddr) {
            prop_assert_eq!(written(|out| write_number(out, number)), number.to_string());
            prop_assert_eq!(written(|out| write_hex(out, number)), format!("{number:#018x}"));
            prop_assert_eq!(written(|out| write_addr(out, addr)), addr.to_string());
            let digits = format!("{short:010}");
            prop_assert_eq!(written(|out| write_last_digits(out, 9, short)), &digits[1..]);
            prop_assert_eq!(written(|out| write_last_digits(out, 3, short)), &digits[7..]);
        }
    }
}
