//! A client's file as it is read: values, and where in the text each of them is.

use std::ops::Range;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its bytes in the text.
    pub span: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Text.
    Text(String),
    /// A number or a truth value, as it is spelled.
    Plain(String),
    /// Nothing.
    Null,
    /// Values in order.
    List(Vec<Node>),
    /// Values by name.
    Table(Vec<Member>),
    /// What is not looked into: its text.
    Opaque(String),
}

/// A value with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The name.
    pub key: String,
    /// The bytes of both.
    pub span: Range<usize>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// Its members; empty where it is no table.
    pub fn members(&self) -> &[Member] {
        match &self.kind {
            Kind::Table(members) => members,
            _ => &[],
        }
    }

    /// Its elements; empty where it is no list.
    pub fn elements(&self) -> &[Self] {
        match &self.kind {
            Kind::List(elements) => elements,
            _ => &[],
        }
    }

    /// Its text; none where it is something else.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The member called `key`: the last of them, as the programs that read such files have it.
    pub fn member(&self, key: &str) -> Option<&Member> {
        self.members().iter().rev().find(|member| member.key == key)
    }

    /// The value called `key`.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.member(key).map(|member| &member.value)
    }

    /// The texts of its elements.
    pub fn texts(&self) -> Vec<String> {
        self.elements().iter().filter_map(Self::text).map(str::to_owned).collect()
    }
}

impl Kind {
    /// Whether both say the same, wherever they stand.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(ours), Self::List(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| a.kind.is_same(&b.kind))
            }
            (Self::Table(ours), Self::Table(theirs)) => {
                let same = |(a, b): (&Member, &Member)| a.key == b.key && a.value.kind.is_same(&b.value.kind);
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(same)
            }
            _ => self == other,
        }
    }
}
