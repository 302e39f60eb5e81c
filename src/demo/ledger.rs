//! A double-entry general ledger. It stores no totals: every statement is computed from the entries.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::demo::{
    money::Money,
    statement::{Line, Section, Statement, StatementKind},
};

/// An account of the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Its number, which determines the order.
    pub code: u16,
    pub name: &'static str,
    /// Its place in the statements.
    pub kind: AccountKind,
}

/// The kind of an account. Debits increase assets and costs, credits the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountKind {
    Asset,
    Liability,
    Equity,
    Revenue,
    CostOfRevenue,
    OperatingExpense,
    OtherExpense,
}

impl AccountKind {
    /// Whether credits increase it.
    const fn is_credit_normal(self) -> bool {
        matches!(self, Self::Liability | Self::Equity | Self::Revenue)
    }

    /// Whether it is closed into retained earnings at the end of a year.
    const fn is_temporary(self) -> bool {
        matches!(self, Self::Revenue | Self::CostOfRevenue | Self::OperatingExpense | Self::OtherExpense)
    }
}

const fn account(code: u16, name: &'static str, kind: AccountKind) -> Account {
    Account { code, name, kind }
}

/// The chart of accounts, by number.
pub const CHART: &[Account] = {
    use AccountKind::{Asset, CostOfRevenue, Equity, Liability, OperatingExpense, OtherExpense, Revenue};
    &[
        account(1000, "Operating cash", Asset),
        account(1100, "Accounts receivable", Asset),
        account(1200, "Prepaid expenses", Asset),
        account(1500, "Computer equipment", Asset),
        account(1510, "Accumulated depreciation", Asset),
        account(2000, "Accounts payable", Liability),
        account(2100, "Payroll liabilities", Liability),
        account(2200, "Deferred revenue", Liability),
        account(2500, "Term loan", Liability),
        account(3000, "Common stock", Equity),
        account(4000, "Subscription revenue", Revenue),
        account(4100, "Services revenue", Revenue),
        account(5000, "Hosting", CostOfRevenue),
        account(5100, "Payment processing", CostOfRevenue),
        account(5200, "Customer support", CostOfRevenue),
        account(6000, "Salaries", OperatingExpense),
        account(6010, "Payroll taxes", OperatingExpense),
        account(6100, "Marketing", OperatingExpense),
        account(6200, "Rent", OperatingExpense),
        account(6300, "Software", OperatingExpense),
        account(6400, "Insurance", OperatingExpense),
        account(6500, "Depreciation", OperatingExpense),
        account(7000, "Interest", OtherExpense),
        account(7100, "Income taxes", OtherExpense),
    ]
};

/// The account with this number.
pub fn find_account(code: u16) -> Option<&'static Account> {
    CHART.iter().find(|account| account.code == code)
}

/// One side of an entry: an account, and a debit (positive) or a credit (negative).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    pub account: &'static Account,
    /// The debit, or the credit as a negative amount.
    pub amount: Money,
}

/// A journal entry. It always balances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The day of the booking.
    pub date: Date,
    pub memo: String,
    postings: Vec<Posting>,
}

/// Why a journal entry is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("there is no account {0}")]
    UnknownAccount(u16),
    #[error("debits and credits differ by {0}")]
    Unbalanced(Money),
}

impl Entry {
    /// An entry from account numbers and debits (positive) or credits (negative).
    ///
    /// # Errors
    /// An account that the chart does not have, or a sum that is not zero.
    pub fn new(date: Date, memo: impl Into<String>, postings: &[(u16, Money)]) -> Result<Self, EntryError> {
        let postings: Vec<Posting> = postings
            .iter()
            .map(|&(code, amount)| {
                let account = find_account(code).ok_or(EntryError::UnknownAccount(code))?;
                Ok(Posting { account, amount })
            })
            .collect::<Result<_, _>>()?;
        match postings.iter().map(|posting| posting.amount).sum() {
            Money::ZERO => Ok(Self { date, memo: memo.into(), postings }),
            difference => Err(EntryError::Unbalanced(difference)),
        }
    }

    pub fn postings(&self) -> &[Posting] {
        &self.postings
    }
}

/// A business's journal, by date.
#[derive(Debug)]
pub struct Ledger {
    business: String,
    entries: Vec<Entry>,
}

impl Ledger {
    /// The ledger of `business` with these entries.
    pub fn new(business: impl Into<String>, mut entries: Vec<Entry>) -> Self {
        entries.sort_by_key(|entry| entry.date);
        Self { business: business.into(), entries }
    }

    /// The entries from `from` to `to`, inclusive, by date.
    pub fn entries(&self, from: Date, to: Date) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| (from..=to).contains(&entry.date))
    }

    /// The debits less the credits of each account from `from` to `to`, inclusive.
    fn movements(&self, from: Date, to: Date) -> BTreeMap<u16, Money> {
        let mut movements = BTreeMap::new();
        for posting in self.entries(from, to).flat_map(Entry::postings) {
            let sum = movements.entry(posting.account.code).or_insert(Money::ZERO);
            *sum = *sum + posting.amount;
        }
        movements
    }

    /// The balance of an account at the end of `date`: its debits less its credits.
    pub fn balance(&self, account: &Account, date: Date) -> Money {
        self.movements(Date::MIN, date).get(&account.code).copied().unwrap_or_default()
    }

    /// Revenue less all costs from `from` to `to`, inclusive.
    fn net_income(&self, from: Date, to: Date) -> Money {
        let temporary = self.entries(from, to).flat_map(Entry::postings).filter(|it| it.account.kind.is_temporary());
        -temporary.map(|posting| posting.amount).sum::<Money>()
    }

    /// The profit and loss statement from `from` to `to`, inclusive.
    pub fn profit_and_loss(&self, from: Date, to: Date) -> Statement {
        let movements = self.movements(from, to);
        let section = |name, kind| Section::new(name, lines(&movements, kind));
        let revenue = section("Revenue", AccountKind::Revenue);
        let cost = section("Cost of revenue", AccountKind::CostOfRevenue);
        let operating = section("Operating expenses", AccountKind::OperatingExpense);
        let other = section("Interest and taxes", AccountKind::OtherExpense);
        let gross_profit = revenue.total - cost.total;
        let operating_income = gross_profit - operating.total;
        Statement {
            statement: StatementKind::ProfitAndLoss,
            business: self.business.clone(),
            from: Some(from.to_string()),
            to: to.to_string(),
            currency: "USD".to_owned(),
            sections: vec![
                revenue,
                cost.resulting_in("Gross profit", gross_profit),
                operating.resulting_in("Operating income", operating_income),
                // Computed from the entries, not from the lines above, so that a reader can check that both agree.
                other.resulting_in("Net income", self.net_income(from, to)),
            ],
        }
    }

    /// The balance sheet at the end of `date`. Earlier years' income is shown as retained earnings, as if each year had
    /// been closed.
    pub fn balance_sheet(&self, date: Date) -> Statement {
        let balances = self.movements(Date::MIN, date);
        let earned = |name: String, amount| Line { account: None, name, amount };
        let year = date.first_of_year();
        let retained = year.yesterday().map(|last_year| self.net_income(Date::MIN, last_year)).unwrap_or_default();
        let mut equity = lines(&balances, AccountKind::Equity);
        equity.push(earned("Retained earnings".to_owned(), retained));
        equity.push(earned(format!("Net income {}", date.year()), self.net_income(year, date)));
        let assets = Section::new("Assets", lines(&balances, AccountKind::Asset));
        let liabilities = Section::new("Liabilities", lines(&balances, AccountKind::Liability));
        let equity = Section::new("Equity", equity);
        let claims = liabilities.total + equity.total;
        Statement {
            statement: StatementKind::BalanceSheet,
            business: self.business.clone(),
            from: None,
            to: date.to_string(),
            currency: "USD".to_owned(),
            sections: vec![assets, liabilities, equity.resulting_in("Total liabilities and equity", claims)],
        }
    }
}

/// The accounts of one kind with movements. Amounts are positive if they increase the account.
fn lines(movements: &BTreeMap<u16, Money>, kind: AccountKind) -> Vec<Line> {
    let sign = if kind.is_credit_normal() { -1 } else { 1 };
    let accounts = CHART.iter().filter(|account| account.kind == kind);
    accounts
        .filter_map(|account| {
            let amount = *movements.get(&account.code).filter(|amount| **amount != Money::ZERO)?;
            Some(Line { account: Some(account.code), name: account.name.to_owned(), amount: amount * sign })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_chart_is_sorted_and_without_duplicates() {
        assert!(CHART.is_sorted_by(|one, next| one.code < next.code));
    }

    #[test]
    fn an_unbalanced_entry_is_refused() {
        let day = date(2025, 1, 1);
        let cent = Money::cents(1);
        assert_eq!(Entry::new(day, "", &[(1000, cent)]), Err(EntryError::Unbalanced(cent)));
        assert_eq!(Entry::new(day, "", &[(1000, cent), (9, -cent)]), Err(EntryError::UnknownAccount(9)));
        assert!(Entry::new(day, "", &[(1000, cent), (3000, -cent)]).is_ok());
    }

    #[test]
    fn last_years_income_is_retained_and_this_years_is_not() {
        let sale = |day, dollars| {
            Entry::new(day, "sale", &[(1000, Money::dollars(dollars)), (4000, Money::dollars(-dollars))]).unwrap()
        };
        let ledger = Ledger::new("Test", vec![sale(date(2025, 12, 31), 70), sale(date(2026, 1, 1), 5)]);
        let equity =
            |day| ledger.balance_sheet(day).sections[2].lines.iter().map(|line| line.amount).collect::<Vec<_>>();
        assert_eq!(equity(date(2025, 12, 31)), [Money::ZERO, Money::dollars(70)]);
        assert_eq!(equity(date(2026, 1, 1)), [Money::dollars(70), Money::dollars(5)]);
        let net_income = |from, to| ledger.profit_and_loss(from, to).sections[3].result.clone().unwrap().amount;
        assert_eq!(net_income(date(2025, 12, 31), date(2025, 12, 31)), Money::dollars(70));
        assert_eq!(net_income(date(2025, 12, 31), date(2026, 1, 1)), Money::dollars(75));
    }

    fn day() -> impl Strategy<Value = Date> {
        (2024i16..2028, 1i8..=12, 1i8..=28).prop_map(|(year, month, day)| date(year, month, day))
    }

    /// A random balanced entry: random sides, and one more for the difference.
    fn entry() -> impl Strategy<Value = Entry> {
        let code = || prop::sample::select(CHART).prop_map(|account| account.code);
        let side = (code(), -1_000_000_000i64..1_000_000_000);
        (day(), prop::collection::vec(side, 1..6), code()).prop_map(|(day, sides, last)| {
            let mut postings: Vec<_> = sides.iter().map(|&(code, cents)| (code, Money::cents(cents))).collect();
            postings.push((last, -postings.iter().map(|posting| posting.1).sum::<Money>()));
            Entry::new(day, "random", &postings).unwrap()
        })
    }

    proptest! {
        /// With any entries, the books balance on every day, statements add up, and the income of parts is the income
        /// of the whole.
        #[test]
        fn the_books_always_balance(
            entries in prop::collection::vec(entry(), 0..40),
            mut days in prop::array::uniform3(day()),
        ) {
            let ledger = Ledger::new("Test", entries);
            for day in days {
                prop_assert!(ledger.balance_sheet(day).adds_up());
            }
            days.sort();
            let [from, middle, to] = days;
            let income = |from, to| ledger.profit_and_loss(from, to).sections[3].result.clone().map(|it| it.amount);
            prop_assert!(ledger.profit_and_loss(from, to).adds_up());
            let parts = income(from, middle).zip(income(middle.tomorrow().unwrap(), to)).map(|(a, b)| a + b);
            prop_assert_eq!(income(from, to), parts);
        }
    }
}
