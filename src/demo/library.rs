//! A company's brand assets.

use serde::Serialize;

use crate::demo::png;

/// A picture or a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DigitalAsset {
    pub id: &'static str,
    pub title: &'static str,
    pub kind: &'static str,
    pub collection: &'static str,
    pub tags: &'static [&'static str],
    #[serde(skip)]
    text: &'static str,
}

/// Every asset, by identifier.
pub const ASSETS: [DigitalAsset; 4] = [
    DigitalAsset {
        id: "ast_01",
        title: "Logo, dark on light",
        kind: "image",
        collection: "Brand",
        tags: &["logo", "brand"],
        text: "Northwind Metrics",
    },
    DigitalAsset {
        id: "ast_02",
        title: "Trade show booth, Denver",
        kind: "image",
        collection: "Events",
        tags: &["booth", "event", "photo"],
        text: "Northwind Metrics: see the wind before it turns",
    },
    DigitalAsset {
        id: "ast_03",
        title: "Series A one-pager",
        kind: "document",
        collection: "Sales",
        tags: &["one-pager", "sales", "finance"],
        text: "Northwind Metrics turns meter readings into forecasts. 64 customers at launch; every month closes in one day.",
    },
    DigitalAsset {
        id: "ast_04",
        title: "Customer story: Brightwater Clinics",
        kind: "document",
        collection: "Sales",
        tags: &["case study", "sales"],
        text: "\"We stopped guessing.\" Brightwater Clinics cut its energy bill by 12.5 % in two quarters.",
    },
];

impl DigitalAsset {
    /// The asset with this identifier.
    pub fn find(id: &str) -> Option<&'static Self> {
        ASSETS.iter().find(|asset| asset.id == id)
    }

    /// The assets whose title or tags contain every word of `query`, ignoring case.
    pub fn search(query: &str) -> Vec<&'static Self> {
        let query = query.to_lowercase();
        let matches = |asset: &&Self| {
            let described = format!("{} {}", asset.title, asset.tags.join(" ")).to_lowercase();
            query.split_whitespace().all(|word| described.contains(word))
        };
        ASSETS.iter().filter(matches).collect()
    }

    /// A preview as a PNG file of about half a megabyte.
    pub fn preview(&self) -> Vec<u8> {
        // Each asset has a different tint.
        let tint = self.id.bytes().fold(0u8, |tint, byte| tint.wrapping_mul(31).wrapping_add(byte));
        png::encode(480, 360, |x, y| {
            let [[x, _], [y, _]] = [x.to_le_bytes(), y.to_le_bytes()];
            [x ^ tint, y.wrapping_add(tint), x.wrapping_add(y)]
        })
    }

    /// The text in it, as extracted or recognised.
    pub fn text(&self) -> &'static str {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_needs_every_word() {
        let found = |query| DigitalAsset::search(query).iter().map(|asset| asset.id).collect::<Vec<_>>();
        assert_eq!(found("SALES finance"), ["ast_03"]);
        assert_eq!(found("sales"), ["ast_03", "ast_04"]);
        assert_eq!(found("sales logo"), [""; 0]);
    }

    #[test]
    fn every_asset_has_a_different_large_preview() {
        let previews: Vec<_> = ASSETS.iter().map(DigitalAsset::preview).collect();
        assert!(previews.iter().all(|preview| preview.len() > 500_000));
        assert_ne!(previews[0], previews[1]);
    }
}
