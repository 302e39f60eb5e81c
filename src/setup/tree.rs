//! A parsed client's file: values, and the span of each in the text.

use std::ops::Range;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its bytes in the text.
    pub span: Range<usize>,
    pub kind: Kind,
}

/// The content of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Text(String),
    /// A number or a boolean, exactly as written.
    Plain(String),
    /// Null, or no value.
    Null,
    /// Values in order.
    List(Vec<Node>),
    /// Values by name.
    Table(Vec<Member>),
    /// The text of a value that finmcp does not parse.
    Opaque(String),
}

/// A value with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub key: String,
    /// The bytes of both.
    pub span: Range<usize>,
    pub value: Node,
}

impl Node {
    /// Its members; empty if it is not a table.
    pub fn members(&self) -> &[Member] {
        match &self.kind {
            Kind::Table(members) => members,
            _ => &[],
        }
    }

    /// Its elements; empty if it is not a list.
    pub fn elements(&self) -> &[Self] {
        match &self.kind {
            Kind::List(elements) => elements,
            _ => &[],
        }
    }

    /// Its text; none if it is not text.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The member named `key`. The last one if there are several, as most programs choose.
    pub fn member(&self, key: &str) -> Option<&Member> {
        self.members().iter().rev().find(|member| member.key == key)
    }

    /// The value named `key`.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.member(key).map(|member| &member.value)
    }

    /// The texts of its elements.
    pub fn texts(&self) -> Vec<String> {
        self.elements().iter().filter_map(Self::text).map(str::to_owned).collect()
    }
}

impl Kind {
    /// Whether both are equal, regardless of their spans.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(left), Self::List(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.kind.is_same(&b.kind))
            }
            (Self::Table(left), Self::Table(right)) => {
                let same = |(a, b): (&Member, &Member)| a.key == b.key && a.value.kind.is_same(&b.value.kind);
                left.len() == right.len() && left.iter().zip(right).all(same)
            }
            _ => self == other,
        }
    }
}
