//! The invented books of a small software company: its journal since the founding, the same at every start.

use jiff::civil::{Date, date};

use crate::demo::{
    ledger::{Entry, EntryError, Ledger},
    money::Money,
};

/// The first day that has entries.
pub const FOUNDED: Date = date(2024, 10, 1);

/// The first and last day of the first full year, which the books always cover, whatever the clock says.
pub const FIRST_YEAR: (Date, Date) = (date(2025, 1, 1), date(2025, 12, 31));

/// A business with books at a vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Business {
    /// The vendor's identifier for it.
    pub id: &'static str,
    pub name: &'static str,
    /// The number of customers at its founding.
    pub first_customers: i64,
}

/// The business with real money, in Asset's production environment.
pub const NORTHWIND: Business =
    Business { id: "biz_GA6EG2qFxA97NZHtxeLPUy", name: "Northwind Metrics, Inc.", first_customers: 64 };

/// The business for tests, in Asset's sandbox.
pub const SANDBOX: Business = Business { id: "biz_1", name: "Sandbox Robotics, LLC", first_customers: 23 };

/// The monthly subscription.
const PRICE: Money = Money::cents(49_900);

/// The journal of `business` up to and including `today`.
///
/// # Errors
/// An [`EntryError`] is a mistake in this file, which a test rules out.
pub fn ledger(business: Business, today: Date) -> Result<Ledger, EntryError> {
    let today = today.max(FIRST_YEAR.1);
    let mut entries = founding()?;
    let months = FOUNDED.series(jiff::Span::new().months(1)).take_while(|first| *first <= today);
    for (index, first) in (0..).zip(months) {
        entries.extend(Month { business, index, first }.entries()?);
    }
    entries.retain(|entry| entry.date <= today);
    Ok(Ledger::new(business.name, entries))
}

fn founding() -> Result<Vec<Entry>, EntryError> {
    let (stock, loan, equipment) = (Money::dollars(750_000), Money::dollars(240_000), Money::dollars(57_600));
    Ok(vec![
        Entry::new(FOUNDED, "Founders' capital", &[(1000, stock), (3000, -stock)])?,
        Entry::new(FOUNDED, "Term loan drawn", &[(1000, loan), (2500, -loan)])?,
        Entry::new(FOUNDED, "Laptops and servers", &[(1500, equipment), (1000, -equipment)])?,
    ])
}

/// One month of a business's life.
struct Month {
    business: Business,
    /// Months since the founding.
    index: i64,
    first: Date,
}

impl Month {
    fn entries(&self) -> Result<Vec<Entry>, EntryError> {
        let mut entries = Vec::with_capacity(24);
        self.sell(&mut entries)?;
        self.pay_people(&mut entries)?;
        self.pay_bills(&mut entries)?;
        self.close(&mut entries)?;
        Ok(entries)
    }

    fn sell(&self, entries: &mut Vec<Entry>) -> Result<(), EntryError> {
        let name = self.name();
        let monthly = self.subscriptions();
        entries.push(Entry::new(
            self.day(1),
            format!("Subscriptions invoiced, {name}"),
            &[(1100, monthly), (4000, -monthly)],
        )?);
        let collected = self.previous().map_or(Money::ZERO, |month| month.subscriptions());
        // A card processor keeps 2.9 % of the payments.
        let fee = collected.part(29, 1000);
        entries.push(Entry::new(
            self.day(5),
            format!("Card payments received, {name}"),
            &[(1000, collected - fee), (5100, fee), (1100, -collected)],
        )?);
        if self.index % 3 == 0 {
            let contract = self.annual_contract();
            entries.push(Entry::new(
                self.day(9),
                format!("Annual contract invoiced, {name}"),
                &[(1100, contract), (2200, -contract)],
            )?);
            let services = self.services();
            entries.push(Entry::new(
                self.day(18),
                format!("Onboarding project delivered, {name}"),
                &[(1100, services), (4100, -services)],
            )?);
        }
        if let Some(billed) = self.earlier(1).filter(|month| month.index % 3 == 0) {
            let paid = billed.annual_contract() + billed.services();
            entries.push(Entry::new(
                self.day(22),
                format!("Annual contract and project paid, {name}"),
                &[(1000, paid), (1100, -paid)],
            )?);
        }
        Ok(())
    }

    fn pay_people(&self, entries: &mut Vec<Entry>) -> Result<(), EntryError> {
        let (salaries, support) = (self.salaries(), self.support());
        let taxes = (salaries + support).part(765, 10_000);
        let withheld = (salaries + support).part(22, 100) + taxes;
        entries.push(Entry::new(
            self.day(26),
            format!("Payroll, {}", self.name()),
            &[
                (6000, salaries),
                (5200, support),
                (6010, taxes),
                (2100, -withheld),
                (1000, withheld - salaries - support - taxes),
            ],
        )?);
        if let Some(month) = self.previous() {
            let gross = month.salaries() + month.support();
            let remitted = gross.part(22, 100) + gross.part(765, 10_000);
            entries.push(Entry::new(
                self.day(15),
                format!("Payroll taxes remitted for {}", month.name()),
                &[(2100, remitted), (1000, -remitted)],
            )?);
        }
        Ok(())
    }

    fn pay_bills(&self, entries: &mut Vec<Entry>) -> Result<(), EntryError> {
        let name = self.name();
        let (hosting, marketing, software) = (self.hosting(), self.marketing(), Money::cents(384_975));
        let billed = hosting + marketing + software;
        entries.push(Entry::new(
            self.day(28),
            format!("Vendor bills, {name}"),
            &[(5000, hosting), (6100, marketing), (6300, software), (2000, -billed)],
        )?);
        if let Some(month) = self.previous() {
            let owed = month.hosting() + month.marketing() + software;
            entries.push(Entry::new(
                self.day(20),
                format!("Vendor bills of {} paid", month.name()),
                &[(2000, owed), (1000, -owed)],
            )?);
        }
        let rent = Money::dollars(6_200);
        entries.push(Entry::new(self.day(1), format!("Rent, {name}"), &[(6200, rent), (1000, -rent)])?);
        if self.index % 12 == 0 {
            let premium = Money::dollars(9_600);
            entries.push(Entry::new(
                self.day(2),
                "Insurance premium for a year",
                &[(1200, premium), (1000, -premium)],
            )?);
        }
        if self.index < 48 {
            let principal = Money::dollars(5_000);
            let interest = (Money::dollars(240_000) - principal * self.index).part(7, 1200);
            entries.push(Entry::new(
                self.day(25),
                format!("Loan instalment, {name}"),
                &[(2500, principal), (7000, interest), (1000, -(principal + interest))],
            )?);
        }
        if self.first.month() % 3 == 0 {
            let estimate = self.subscriptions().part(3, 100) * 3;
            entries.push(Entry::new(
                self.day(15),
                format!("Estimated income taxes, {name}"),
                &[(7100, estimate), (1000, -estimate)],
            )?);
        }
        Ok(())
    }

    /// The adjusting entries at a month's end.
    fn close(&self, entries: &mut Vec<Entry>) -> Result<(), EntryError> {
        let (last, name) = (self.first.last_of_month(), self.name());
        // Each annual contract is earned over the twelve months that begin with its own.
        let contracts = (0..12).filter_map(|age| self.earlier(age)).filter(|month| month.index % 3 == 0);
        let earned: Money = contracts.map(|month| month.annual_contract().part(1, 12)).sum();
        entries.push(Entry::new(last, format!("Annual contracts earned, {name}"), &[(2200, earned), (4000, -earned)])?);
        let premium = Money::dollars(800);
        entries.push(Entry::new(last, format!("Insurance used, {name}"), &[(6400, premium), (1200, -premium)])?);
        if self.index < 48 {
            let depreciation = Money::dollars(1_200);
            entries.push(Entry::new(
                last,
                format!("Depreciation, {name}"),
                &[(6500, depreciation), (1510, -depreciation)],
            )?);
        }
        Ok(())
    }

    /// Two to four new customers a month, net of those that leave.
    fn customers(&self) -> i64 {
        self.business.first_customers + self.index * 3 + self.index % 3
    }

    fn subscriptions(&self) -> Money {
        PRICE * self.customers()
    }

    /// A multiple of twelve cents, so that a twelfth is exact.
    fn annual_contract(&self) -> Money {
        Money::dollars(48_000 + 1_200 * (self.index % 7))
    }

    fn services(&self) -> Money {
        Money::cents(1_250_000 + 43_750 * (self.index % 5))
    }

    fn salaries(&self) -> Money {
        self.subscriptions().part(47, 100)
    }

    fn support(&self) -> Money {
        self.subscriptions().part(9, 100)
    }

    fn hosting(&self) -> Money {
        Money::cents(3_817) * self.customers()
    }

    fn marketing(&self) -> Money {
        Money::cents(275_000 + 31_125 * (self.index % 4))
    }

    fn previous(&self) -> Option<Self> {
        self.earlier(1)
    }

    /// The month `months` before this one, unless that was before the founding.
    fn earlier(&self, months: i64) -> Option<Self> {
        let first = self.first.checked_sub(jiff::Span::new().months(months)).ok()?;
        (months <= self.index).then_some(Self { business: self.business, index: self.index - months, first })
    }

    fn day(&self, day: i8) -> Date {
        self.first.with().day(day).build().unwrap_or(self.first)
    }

    fn name(&self) -> String {
        self.first.strftime("%B %Y").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{ledger::CHART, statement::Statement};

    const TODAY: Date = date(2026, 11, 12);

    fn result(statement: &Statement, section: usize) -> Money {
        statement.sections[section].result.clone().unwrap().amount
    }

    #[test]
    fn both_books_balance_on_every_day() {
        for business in [NORTHWIND, SANDBOX] {
            let ledger = ledger(business, TODAY).unwrap();
            for day in FOUNDED.series(jiff::Span::new().days(1)).take_while(|day| *day <= TODAY) {
                assert!(ledger.balance_sheet(day).adds_up(), "{day}");
            }
        }
    }

    #[test]
    fn the_first_year_is_the_same_at_every_start() {
        let year = |today| ledger(NORTHWIND, today).unwrap().profit_and_loss(FIRST_YEAR.0, FIRST_YEAR.1);
        let early = year(Date::MIN);
        assert_eq!(early, year(TODAY));
        assert!(early.adds_up());
        assert_ne!(early.sections[0].total, Money::ZERO);
        assert_ne!(ledger(SANDBOX, TODAY).unwrap().profit_and_loss(FIRST_YEAR.0, FIRST_YEAR.1), early);
    }

    #[test]
    fn the_months_make_the_year_and_nothing_is_after_today() {
        let ledger = ledger(NORTHWIND, TODAY).unwrap();
        let year = ledger.profit_and_loss(FIRST_YEAR.0, FIRST_YEAR.1);
        let months = (1..=12).map(|month| date(2025, month, 1));
        let sum: Money = months.map(|first| result(&ledger.profit_and_loss(first, first.last_of_month()), 3)).sum();
        assert_eq!(sum, result(&year, 3));
        assert_eq!(ledger.entries(TODAY.tomorrow().unwrap(), Date::MAX).count(), 0);
    }

    /// No account has an implausible balance, for example negative cash or negative debts.
    #[test]
    fn the_books_are_plausible() {
        for business in [NORTHWIND, SANDBOX] {
            let ledger = ledger(business, date(2030, 12, 31)).unwrap();
            for first in FOUNDED.series(jiff::Span::new().months(1)).take_while(|first| first.year() <= 2030) {
                for account in CHART.iter().filter(|account| account.code < 3000 && account.code != 1510) {
                    let balance = ledger.balance(account, first.last_of_month());
                    let held = if account.code < 2000 { balance } else { -balance };
                    assert!(held >= Money::ZERO, "{} {first} {}: {held}", business.name, account.name);
                }
            }
        }
    }
}
