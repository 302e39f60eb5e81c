//! Accounts receivable: invoices, payments and promises to pay.

use std::sync::{Mutex, PoisonError};

use jiff::{Span, civil::Date};
use serde::Serialize;

use crate::demo::money::Money;

/// A customer of the organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Customer {
    pub id: &'static str,
    pub name: &'static str,
    /// Days it has to pay an invoice.
    pub payment_terms_days: i64,
    /// The sum of its unpaid invoices.
    pub balance: Money,
}

/// A bill sent to a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invoice {
    /// Its number.
    pub id: String,
    pub customer: &'static str,
    /// The day it was sent (YYYY-MM-DD).
    pub issued: String,
    /// The last day to pay it (YYYY-MM-DD).
    pub due: String,
    /// The billed amount.
    pub amount: Money,
    /// The unpaid amount.
    pub open: Money,
    pub status: InvoiceStatus,
}

/// The status of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InvoiceStatus {
    Paid,
    /// Not due yet.
    Open,
    Overdue,
}

/// Money received for an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payment {
    /// The invoice it pays.
    pub invoice: String,
    /// The day it arrived (YYYY-MM-DD).
    pub received: String,
    pub amount: Money,
}

/// A customer's promise to pay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promise {
    /// The invoice it is about.
    pub invoice: String,
    /// The day it is to be paid (YYYY-MM-DD).
    pub pay_by: String,
    pub amount: Money,
}

/// Why a promise is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PromiseError {
    #[error("unknown invoice; see list_invoices")]
    UnknownInvoice,
    /// Zero, or more than the open amount.
    #[error("invalid amount: expected more than 0.00 and at most the open amount")]
    Amount,
}

/// The receivables of one organisation, as of the day they were opened.
#[derive(Debug)]
pub struct Receivables {
    today: Date,
    promises: Mutex<Vec<Promise>>,
}

/// Identifier, name, payment terms in days, monthly bill in cents, days it takes to pay.
const CUSTOMERS: [(&str, &str, i64, i64, i64); 5] = [
    ("cus_01", "Harbor Freight Analytics", 30, 1_845_000, 21),
    ("cus_02", "Calder & Voss LLP", 30, 729_995, 44),
    ("cus_03", "Brightwater Clinics", 45, 1_212_010, 40),
    ("cus_04", "Juniper Street Foods", 15, 331_005, 13),
    ("cus_05", "Meridian Rail Services", 60, 4_187_550, 95),
];

/// How many months back invoices go.
const MONTHS: i64 = 6;

impl Receivables {
    /// The receivables as of `today`.
    pub fn new(today: Date) -> Self {
        Self { today, promises: Mutex::default() }
    }

    /// Every customer with its balance.
    pub fn customers(&self) -> Vec<Customer> {
        let invoices = self.invoices();
        let owed = |id| invoices.iter().filter(|invoice| invoice.customer == id).map(|invoice| invoice.open).sum();
        let customer = |&(id, name, payment_terms_days, ..): &(&'static str, &'static str, i64, i64, i64)| Customer {
            id,
            name,
            payment_terms_days,
            balance: owed(id),
        };
        CUSTOMERS.iter().map(customer).collect()
    }

    /// The invoices of the last six months, oldest first.
    pub fn invoices(&self) -> Vec<Invoice> {
        self.billed().map(|(invoice, _)| invoice).collect()
    }

    /// The payments received so far, oldest invoice first.
    pub fn payments(&self) -> Vec<Payment> {
        let paid = |(invoice, received): (Invoice, Date)| {
            (received <= self.today).then(|| Payment {
                invoice: invoice.id,
                received: received.to_string(),
                amount: invoice.amount,
            })
        };
        self.billed().filter_map(paid).collect()
    }

    /// Records a promise. Every call records another one, so a repeated call shows.
    ///
    /// # Errors
    /// Unknown invoice, or an amount that is not owed.
    pub fn record_promise(&self, promise: Promise) -> Result<usize, PromiseError> {
        let invoices = self.invoices();
        let invoice = invoices.iter().find(|invoice| invoice.id == promise.invoice);
        let invoice = invoice.ok_or(PromiseError::UnknownInvoice)?;
        if promise.amount <= Money::ZERO || promise.amount > invoice.open {
            return Err(PromiseError::Amount);
        }
        let mut promises = self.promises.lock().unwrap_or_else(PoisonError::into_inner);
        promises.push(promise);
        Ok(promises.len())
    }

    /// The promises recorded so far.
    pub fn promises(&self) -> Vec<Promise> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Each invoice with the day of its payment.
    fn billed(&self) -> impl Iterator<Item = (Invoice, Date)> {
        let first = self.today.first_of_month();
        let months =
            (0..MONTHS).rev().filter_map(move |back| Some((back, first.checked_sub(Span::new().months(back)).ok()?)));
        months.flat_map(move |(back, issued)| {
            CUSTOMERS.iter().filter_map(move |&(customer, _, terms, cents, days)| {
                let due = issued.checked_add(Span::new().days(terms)).ok()?;
                let received = issued.checked_add(Span::new().days(days)).ok()?;
                let amount = Money::cents(cents + 103 * (MONTHS - back));
                let is_paid = received <= self.today;
                let invoice = Invoice {
                    id: format!("inv_{}_{}", issued.strftime("%Y%m"), &customer[4..]),
                    customer,
                    issued: issued.to_string(),
                    due: due.to_string(),
                    amount,
                    open: if is_paid { Money::ZERO } else { amount },
                    status: match is_paid {
                        true => InvoiceStatus::Paid,
                        false if due < self.today => InvoiceStatus::Overdue,
                        false => InvoiceStatus::Open,
                    },
                };
                Some((invoice, received))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn receivables() -> Receivables {
        Receivables::new(date(2026, 11, 12))
    }

    #[test]
    fn billed_amounts_are_paid_or_owed() {
        let receivables = receivables();
        let invoices = receivables.invoices();
        let sum = |amount: fn(&Invoice) -> Money| invoices.iter().map(amount).sum::<Money>();
        let paid: Money = receivables.payments().iter().map(|payment| payment.amount).sum();
        let owed: Money = receivables.customers().iter().map(|customer| customer.balance).sum();
        assert_eq!(sum(|invoice| invoice.amount), paid + owed);
        assert_eq!(sum(|invoice| invoice.open), owed);
        for status in [InvoiceStatus::Paid, InvoiceStatus::Open, InvoiceStatus::Overdue] {
            assert!(invoices.iter().any(|invoice| invoice.status == status), "{status:?}");
        }
    }

    #[test]
    fn a_promise_is_for_an_open_invoice_and_recorded_each_time() {
        let receivables = receivables();
        let invoices = receivables.invoices();
        let of = |status| invoices.iter().find(|invoice| invoice.status == status).unwrap();
        let promise = |invoice: &Invoice, amount| Promise {
            invoice: invoice.id.clone(),
            pay_by: "2026-12-01".to_owned(),
            amount,
        };
        let open = of(InvoiceStatus::Overdue);
        assert_eq!(receivables.record_promise(promise(open, open.open)), Ok(1));
        assert_eq!(receivables.record_promise(promise(open, Money::cents(1))), Ok(2));
        for refused in [
            promise(open, Money::ZERO),
            promise(open, open.open + Money::cents(1)),
            promise(of(InvoiceStatus::Paid), Money::cents(1)),
        ] {
            assert_eq!(receivables.record_promise(refused), Err(PromiseError::Amount));
        }
        let unknown = Promise { invoice: "inv_x".to_owned(), ..promise(open, open.open) };
        assert_eq!(receivables.record_promise(unknown), Err(PromiseError::UnknownInvoice));
        assert_eq!(receivables.promises().len(), 2);
    }
}
