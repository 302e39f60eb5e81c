//! A financial statement: the result of the accounting tools, which the demo prints.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::demo::{
    money::Money,
    table::{Column, Table},
};

/// A profit and loss or a balance sheet, complete with its totals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    pub statement: StatementKind,
    pub business: String,
    /// The first day, for a statement over a period (YYYY-MM-DD).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The last day, or the day that a balance sheet shows (YYYY-MM-DD).
    pub to: String,
    /// The currency of every amount (ISO 4217).
    pub currency: String,
    /// The sections, in the order of the statement.
    pub sections: Vec<Section>,
}

/// The kind of a [`Statement`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatementKind {
    /// Revenue less costs, over a period.
    ProfitAndLoss,
    /// Assets, liabilities and equity at the end of a day.
    BalanceSheet,
}

/// A group of accounts and its total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    pub name: String,
    pub lines: Vec<Line>,
    /// The sum of its lines.
    pub total: Money,
    /// The result after this section: gross profit, net income.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Line>,
}

/// A name and an amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The account's number, if it is an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<u16>,
    pub name: String,
    pub amount: Money,
}

impl Section {
    /// A section with its total, without a result.
    pub fn new(name: &str, lines: Vec<Line>) -> Self {
        let total = lines.iter().map(|line| line.amount).sum();
        Self { name: name.to_owned(), lines, total, result: None }
    }

    /// The same section, followed by a result.
    pub fn resulting_in(self, name: &str, amount: Money) -> Self {
        Self { result: Some(Line { account: None, name: name.to_owned(), amount }), ..self }
    }
}

impl Statement {
    /// Reads the `structuredContent` of the tools `profit_and_loss` and `balance_sheet`.
    ///
    /// # Errors
    /// A member is missing or is not an amount.
    pub fn from_structured_content(content: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(content)
    }

    /// Whether every total is the sum of its lines, every result follows from the totals before it, and a balance sheet
    /// balances, all to the cent.
    pub fn adds_up(&self) -> bool {
        let totals = self.sections.iter().all(|section| {
            let sum: Money = section.lines.iter().map(|line| line.amount).sum();
            sum == section.total
        });
        totals
            && match (self.statement, self.sections.as_slice()) {
                (StatementKind::ProfitAndLoss, [revenue, costs @ ..]) => {
                    let mut left = revenue.total;
                    costs.iter().all(|section| {
                        left = left - section.total;
                        section.result.as_ref().is_none_or(|result| result.amount == left)
                    })
                }
                (StatementKind::BalanceSheet, [assets, liabilities, equity]) => {
                    let claims = liabilities.total + equity.total;
                    assets.total == claims && equity.result.as_ref().is_none_or(|result| result.amount == claims)
                }
                _ => false,
            }
    }

    fn title(&self) -> String {
        match (self.statement, &self.from) {
            (StatementKind::ProfitAndLoss, Some(from)) => format!("Profit and loss, {from} to {}", self.to),
            (StatementKind::ProfitAndLoss, None) => format!("Profit and loss to {}", self.to),
            (StatementKind::BalanceSheet, _) => format!("Balance sheet as of {}", self.to),
        }
    }
}

/// The statement as an aligned table.
impl fmt::Display for Statement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[Column::Left, Column::Right]);
        for section in &self.sections {
            table.blank();
            table.row([section.name.clone()]);
            for line in &section.lines {
                table.row([format!("  {}", line.name), line.amount.grouped()]);
            }
            table.rule();
            table.row([format!("  Total {}", section.name.to_lowercase()), section.total.grouped()]);
            if let Some(result) = &section.result {
                table.row([result.name.clone(), result.amount.grouped()]);
            }
        }
        write!(formatter, "{}\n{} ({})\n{table}", self.business, self.title(), self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, cents: i64) -> Line {
        Line { account: None, name: name.to_owned(), amount: Money::cents(cents) }
    }

    fn profit_and_loss() -> Statement {
        Statement {
            statement: StatementKind::ProfitAndLoss,
            business: "Northwind Metrics, Inc.".to_owned(),
            from: Some("2025-01-01".to_owned()),
            to: "2025-03-31".to_owned(),
            currency: "USD".to_owned(),
            sections: vec![
                Section::new("Revenue", vec![line("Subscriptions", 123_456_700), line("Services", 10)]),
                Section::new("Cost of revenue", vec![line("Hosting", 3_456_700)])
                    .resulting_in("Gross profit", Money::cents(120_000_010)),
            ],
        }
    }

    #[test]
    fn a_statement_is_an_aligned_table() {
        assert_eq!(
            profit_and_loss().to_string(),
            "\
Northwind Metrics, Inc.
Profit and loss, 2025-01-01 to 2025-03-31 (USD)

Revenue
  Subscriptions          1,234,567.00
  Services                       0.10
                         ------------
  Total revenue          1,234,567.10

Cost of revenue
  Hosting                   34,567.00
                         ------------
  Total cost of revenue     34,567.00
Gross profit             1,200,000.10
"
        );
    }

    #[test]
    fn every_wrong_cent_is_detected() {
        let right = profit_and_loss();
        assert!(right.adds_up());
        let cent = Money::cents(1);
        let spoils: [fn(&mut Statement, Money); 4] = [
            |statement, cent| statement.sections[0].total = statement.sections[0].total + cent,
            |statement, cent| statement.sections[1].lines[0].amount = statement.sections[1].lines[0].amount + cent,
            |statement, cent| statement.sections[1].result.as_mut().unwrap().amount = -cent,
            |statement, _| statement.sections.clear(),
        ];
        for spoil in spoils {
            let mut wrong = right.clone();
            spoil(&mut wrong, cent);
            assert!(!wrong.adds_up(), "{wrong}");
        }
    }

    #[test]
    fn the_structured_content_reads_back() {
        let statement = profit_and_loss();
        let content = serde_json::to_value(&statement).unwrap();
        assert_eq!(content["sections"][0]["lines"][1]["amount"], "0.10");
        assert_eq!(Statement::from_structured_content(&content).unwrap(), statement);
        assert!(Statement::from_structured_content(&Value::Null).is_err());
    }
}
