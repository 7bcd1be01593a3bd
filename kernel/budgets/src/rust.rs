// SPDX-License-Identifier: GPL-2.0-or-later
//! What is unsafe in a Rust file, and whether it is argued.

use proc_macro2::Delimiter;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use syn::spanned::Spanned;
use syn::visit;
use syn::visit::Visit;

/// The figures of one file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Lines that are neither blank nor a comment.
    pub lines: usize,
    /// `unsafe { }`, also in macros.
    pub blocks: usize,
    /// `unsafe fn`, `unsafe impl`, `unsafe trait`, `unsafe extern`.
    pub items: usize,
    /// Whether the file begins with `#![forbid(unsafe_code)]`.
    pub forbids: bool,
    /// What lacks its argument: lines, numbered from 1, with what is missing there.
    pub unargued: Vec<(usize, &'static str)>,
}

/// Counts in a file's text.
///
/// # Errors
/// When it is no Rust.
pub fn count(text: &str) -> syn::Result<Figures> {
    let file = syn::parse_file(text)?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut counter = Counter {
        lines: &lines,
        beginnings: Vec::new(),
        figures: Figures {
            lines: lines
                .iter()
                .filter(|line| !line.is_empty() && !line.starts_with("//"))
                .count(),
            forbids: file.attrs.iter().any(|attribute| {
                attribute.path().is_ident("forbid")
                    && attribute
                        .parse_args::<syn::Path>()
                        .is_ok_and(|lint| lint.is_ident("unsafe_code"))
            }),
            ..Figures::default()
        },
    };
    counter.visit_file(&file);
    Ok(counter.figures)
}

struct Counter<'a> {
    lines: &'a [&'a str],
    /// First lines of the statements, arms and fields around, the innermost last.
    beginnings: Vec<usize>,
    figures: Figures,
}

impl Counter<'_> {
    fn within(&mut self, node: &impl Spanned, visit: impl FnOnce(&mut Self)) {
        self.beginnings.push(node.span().start().line);
        visit(self);
        self.beginnings.pop();
    }

    /// Whether a SAFETY comment stands directly above a line, attributes aside.
    fn argued_above(&self, line: usize) -> bool {
        self.lines
            .iter()
            .take(line.saturating_sub(1))
            .rev()
            .skip_while(|line| line.starts_with("#["))
            .take_while(|line| line.starts_with("//"))
            .any(|line| {
                line.trim_start_matches('/')
                    .trim_start()
                    .starts_with("SAFETY:")
            })
    }

    fn needs_safety(&mut self, line: usize, what: &'static str) {
        let argued = self.argued_above(line)
            || self
                .beginnings
                .last()
                .is_some_and(|line| self.argued_above(*line));
        if !argued {
            self.figures.unargued.push((line, what));
        }
    }

    /// An unsafe function has a contract. Not so a private callback in the C ABI: what holds for its
    /// arguments is up to the table that it is put into, and its blocks argue with that.
    fn function(
        &mut self,
        attributes: &[syn::Attribute],
        visibility: Option<&syn::Visibility>,
        signature: &syn::Signature,
    ) {
        let Some(keyword) = &signature.unsafety else {
            return;
        };
        self.figures.items += 1;
        let private = matches!(visibility, Some(syn::Visibility::Inherited));
        if private && signature.abi.is_some() {
            return;
        }
        let has_contract = attributes.iter().any(|attribute| {
            let syn::Meta::NameValue(pair) = &attribute.meta else {
                return false;
            };
            let syn::Expr::Lit(literal) = &pair.value else {
                return false;
            };
            matches!(&literal.lit, syn::Lit::Str(text) if text.value().trim() == "# Safety")
        });
        if !has_contract {
            let line = keyword.span.start().line;
            self.figures
                .unargued
                .push((line, "an unsafe fn without `# Safety`"));
        }
    }

    /// The blocks in what a macro is given.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut after_unsafe = None;
        for token in tokens {
            match token {
                TokenTree::Ident(word) if word == "unsafe" => {
                    after_unsafe = Some(word.span().start().line);
                    continue;
                }
                TokenTree::Group(group) => {
                    if let Some(line) =
                        after_unsafe.filter(|_| group.delimiter() == Delimiter::Brace)
                    {
                        self.figures.blocks += 1;
                        self.needs_safety(line, "an unsafe block in a macro without `SAFETY:`");
                    }
                    self.tokens(group.stream());
                }
                _ if after_unsafe.is_some() => self.figures.items += 1,
                _ => {}
            }
            after_unsafe = None;
        }
    }
}

impl<'ast> Visit<'ast> for Counter<'_> {
    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.figures.blocks += 1;
        let line = block.unsafe_token.span.start().line;
        self.needs_safety(line, "an unsafe block without `SAFETY:`");
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        self.within(statement, |this| visit::visit_stmt(this, statement));
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        self.within(arm, |this| visit::visit_arm(this, arm));
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        self.within(field, |this| visit::visit_field_value(this, field));
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.within(item, |this| visit::visit_item(this, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.attrs, Some(&item.vis), &item.sig);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.attrs, Some(&item.vis), &item.sig);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.attrs, None, &item.sig);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(keyword) = &item.unsafety {
            self.figures.items += 1;
            self.needs_safety(
                keyword.span.start().line,
                "an unsafe impl without `SAFETY:`",
            );
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.figures.items += usize::from(item.unsafety.is_some());
        visit::visit_item_trait(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.figures.items += 1;
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unsafe_is_counted_and_its_argument_is_missed() {
        let figures = count(
            "#![forbid(unsafe_code)]
// a comment

fn a() {
    // SAFETY: argued
    let x =
        unsafe { b() };
    c(unsafe { d() });
    m!(
        // SAFETY: too
        unsafe { e() },
        unsafe { f() },
    );
}
unsafe fn g() {}
/// Text
/// # Safety
/// Contract.
unsafe fn h() {}
unsafe impl Send for I {}
unsafe extern \"C\" fn j() {}
pub unsafe extern \"C\" fn k() {}
",
        )
        .unwrap();
        let lines: Vec<usize> = figures.unargued.iter().map(|(line, _)| *line).collect();
        assert_eq!((figures.lines, figures.blocks, figures.items), (15, 4, 5));
        assert!(figures.forbids);
        assert_eq!(lines, [8, 12, 15, 20, 22]);
    }

    #[test]
    fn a_file_that_forbids_something_else_does_not_forbid_unsafe_code() {
        assert!(!count("#![forbid(dead_code)]").unwrap().forbids);
    }
}
