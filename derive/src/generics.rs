//! The parameters of a type: those of the impl, and those of the same type in another section.
//!
//! A bound of the type must hold for `<T as Persist>::In<'section>` as well, of which only what `Persist` says is known. So only bounds that `Persist` implies
//! are taken; std puts bounds on impls for reasons like this one.

use crate::expand::{fresh, persist};
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::punctuated::Punctuated;
use syn::{Error, GenericParam, Generics, Lifetime, Result, Token, Type, TypeParamBound, WherePredicate};

/// The parameters of one type.
pub(crate) struct Parameters<'a> {
    generics: &'a Generics,
}

impl<'a> Parameters<'a> {
    /// Refuses parameters and bounds that cannot be.
    pub(crate) fn of(generics: &'a Generics) -> Result<Self> {
        let parameters = Self { generics };
        for parameter in &generics.params {
            match parameter {
                GenericParam::Type(of) => bounds(&of.ident, &of.bounds)?,
                GenericParam::Lifetime(of) if !of.bounds.is_empty() => {
                    return Err(Error::new_spanned(
                        of,
                        "the lifetime is that of a section, any section: it can have no bound",
                    ));
                }
                _ => {}
            }
        }
        if let Some(second) = generics.lifetimes().nth(1) {
            return Err(Error::new_spanned(
                second,
                "a type has at most one lifetime: that of the section it is seen in",
            ));
        }
        for predicate in generics.where_clause.iter().flat_map(|clause| &clause.predicates) {
            parameters.predicate(predicate)?;
        }
        Ok(parameters)
    }

    /// `<'s, T, const N: usize>`
    pub(crate) fn of_impl(&self) -> TokenStream {
        let parameters = self.generics.params.iter().map(|parameter| match parameter {
            GenericParam::Type(of) => of.ident.to_token_stream(),
            GenericParam::Lifetime(of) => of.lifetime.to_token_stream(),
            GenericParam::Const(of) => {
                let (name, of) = (&of.ident, &of.ty);
                quote!(const #name: #of)
            }
        });
        quote!(<#(#parameters),*>)
    }

    /// What must hold: what the type says, and that its type parameters are `Persist`.
    pub(crate) fn of_where(&self) -> TokenStream {
        let persist = persist();
        let types = self.types();
        let said = self.generics.type_params().filter(|of| !of.bounds.is_empty()).map(|of| {
            let (name, bounds) = (&of.ident, &of.bounds);
            quote!(#name: #bounds,)
        });
        let clause = self.generics.where_clause.iter().flat_map(|clause| &clause.predicates);
        quote!(where #(#types: #persist,)* #(#said)* #(#clause,)*)
    }

    /// The lifetime of a section that may be another than that of the type. Lifetimes are not hygienic: it must not have that one's name.
    pub(crate) fn section(&self) -> TokenStream {
        let taken = self.generics.lifetimes().any(|of| of.lifetime.ident == "section");
        let name = if taken { "'other_section" } else { "'section" };
        Lifetime::new(name, Span::mixed_site()).into_token_stream()
    }

    /// The type as it is declared.
    pub(crate) fn itself(&self, name: &Ident) -> TokenStream {
        let arguments = self.generics.params.iter().map(|parameter| match parameter {
            GenericParam::Lifetime(of) => of.lifetime.to_token_stream(),
            GenericParam::Type(of) => of.ident.to_token_stream(),
            GenericParam::Const(of) => of.ident.to_token_stream(),
        });
        quote!(#name<#(#arguments),*>)
    }

    /// The type in a section of lifetime `section`.
    pub(crate) fn seen_in(&self, name: &Ident, section: &TokenStream) -> TokenStream {
        let persist = persist();
        let arguments = self.generics.params.iter().map(|parameter| match parameter {
            GenericParam::Lifetime(_) => section.clone(),
            GenericParam::Type(of) => {
                let name = &of.ident;
                quote!(<#name as #persist>::In<#section>)
            }
            GenericParam::Const(of) => of.ident.to_token_stream(),
        });
        quote!(#name<#(#arguments),*>)
    }

    /// Expressions of the names of the arguments, as a schema has them.
    pub(crate) fn described(&self) -> Vec<TokenStream> {
        let persist = persist();
        let schema = fresh("schema");
        let argument = |parameter: &GenericParam| match parameter {
            GenericParam::Lifetime(_) => None,
            GenericParam::Type(of) => {
                let name = &of.ident;
                Some(quote!(<#name as #persist>::describe(#schema)))
            }
            GenericParam::Const(of) => {
                let name = &of.ident;
                // A letter could be one that separates the parts of a schema.
                let is_letter = matches!(&of.ty, Type::Path(path) if path.path.is_ident("char"));
                Some(if is_letter {
                    quote!(::std::format!("{}", #name as u32))
                } else {
                    quote!(::std::format!("{}", #name))
                })
            }
        };
        self.generics.params.iter().filter_map(argument).collect()
    }

    /// Whether the same type is seen in every section.
    pub(crate) fn is_plain(&self) -> bool {
        self.generics.lifetimes().next().is_none() && self.generics.type_params().next().is_none()
    }

    /// Whether `tokens` name the lifetime or one of the type parameters.
    pub(crate) fn are_named_in(&self, tokens: TokenStream) -> bool {
        let mut after_quote = false;
        for token in tokens {
            let named = match &token {
                TokenTree::Group(group) => self.are_named_in(group.stream()),
                TokenTree::Ident(ident) if after_quote => {
                    self.generics.lifetimes().any(|of| of.lifetime.ident == *ident)
                }
                TokenTree::Ident(ident) => self.types().any(|name| name == ident),
                TokenTree::Punct(_) | TokenTree::Literal(_) => false,
            };
            if named {
                return true;
            }
            after_quote = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '\'');
        }
        false
    }

    fn types(&self) -> impl Iterator<Item = &'a Ident> {
        self.generics.type_params().map(|of| &of.ident)
    }

    fn predicate(&self, predicate: &WherePredicate) -> Result<()> {
        if !self.are_named_in(predicate.to_token_stream()) {
            return Ok(());
        }
        if let WherePredicate::Type(of) = predicate
            && let syn::Type::Path(path) = &of.bounded_ty
            && let Some(name) = path.path.get_ident()
            && self.types().any(|parameter| parameter == name)
        {
            return bounds(name, &of.bounds);
        }
        Err(Error::new_spanned(
            predicate,
            "this cannot be said of the type in another section; leave it out here, and say it at the impls that need it",
        ))
    }
}

/// Refuses bounds that `Persist` does not imply.
fn bounds(parameter: &Ident, bounds: &Punctuated<TypeParamBound, Token![+]>) -> Result<()> {
    for bound in bounds {
        let name = match bound {
            TypeParamBound::Trait(of) => of.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        let what = match name.as_deref() {
            Some("Persist" | "Send" | "Sized") => continue,
            Some("Fn" | "FnMut" | "FnOnce") => {
                "a closure cannot live in a heap, because its code lies elsewhere in every build; use an enum of what can be called".to_string()
            }
            _ => format!(
                "a bound of the type would have to hold for `{parameter}` as seen in every section, of which only `Persist` is known; leave it out here, and \
                 say it at the impls that need it"
            ),
        };
        return Err(Error::new_spanned(bound, what));
    }
    Ok(())
}
