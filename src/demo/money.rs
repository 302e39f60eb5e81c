//! Exact amounts of money.

use std::{fmt, iter::Sum, ops, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// US dollars in whole cents. The text has two decimals (`-1234.50`). In JSON it is a string, so that no parser rounds
/// it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(i64);

/// Not an amount of dollars and cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an amount of money, for example 1234.50")]
pub struct MoneyError;

impl Money {
    /// The text's pattern for JSON Schema.
    pub const PATTERN: &'static str = r"^-?\d+(\.\d{2})?$";

    pub const ZERO: Self = Self(0);

    /// An amount in cents.
    pub const fn cents(cents: i64) -> Self {
        Self(cents)
    }

    /// An amount in whole dollars.
    pub const fn dollars(dollars: i64) -> Self {
        Self(dollars * 100)
    }

    /// `numerator / denominator` of it, rounded down to the cent.
    pub const fn part(self, numerator: i64, denominator: i64) -> Self {
        Self((self.0 * numerator).div_euclid(denominator))
    }

    /// Formats it with a comma at every third digit, for tables.
    pub fn grouped(self) -> String {
        let plain = self.to_string();
        let (whole, decimals) = plain.split_at(plain.len() - 3);
        let (sign, digits) = whole.split_at(usize::from(self.0 < 0));
        let mut text = sign.to_owned();
        for (index, digit) in digits.char_indices() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text + decimals
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.unsigned_abs();
        write!(formatter, "{sign}{}.{:02}", cents / 100, cents % 100)
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let (digits, sign) = text.strip_prefix('-').map_or((text, 1), |rest| (rest, -1));
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "00"));
        let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || decimals.len() != 2 || !numeric(whole) || !numeric(decimals) {
            return Err(MoneyError);
        }
        let cents: i64 = format!("{whole}{decimals}").parse().map_err(|_| MoneyError)?;
        Ok(Self(sign * cents))
    }
}

impl ops::Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl ops::Sub for Money {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl ops::Neg for Money {
    type Output = Self;

    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl ops::Mul<i64> for Money {
    type Output = Self;

    fn mul(self, factor: i64) -> Self {
        Self(self.0 * factor)
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, ops::Add::add)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_exact_and_has_two_decimals() {
        for (cents, text, grouped) in [
            (0, "0.00", "0.00"),
            (110, "1.10", "1.10"),
            (-5, "-0.05", "-0.05"),
            (-123_456_789, "-1234567.89", "-1,234,567.89"),
            (100_000, "1000.00", "1,000.00"),
            (99_999, "999.99", "999.99"),
        ] {
            let money = Money::cents(cents);
            assert_eq!(money.to_string(), text);
            assert_eq!(money.grouped(), grouped);
            assert_eq!(text.parse(), Ok(money));
        }
        assert_eq!("12".parse(), Ok(Money::dollars(12)));
    }

    #[test]
    fn nothing_else_is_money() {
        for text in ["", "-", ".50", "1.5", "1.505", "1e2", "+1.00", "1,000.00", "$1.00", "99999999999999999999.00"] {
            assert_eq!(text.parse::<Money>(), Err(MoneyError), "{text}");
        }
    }
}
