//! The fields of a struct or of a variant, and what a derive says of each.

use crate::attributes::Rebuild;
use crate::expand::{fresh, persist};
use crate::generics::Parameters;
use crate::instead::{Traits, has_rc};
use crate::refuse;
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, Member, Result, Type};

/// The fields of a struct or of a variant, in their order.
pub(crate) struct Fields<'a> {
    all: Vec<Field<'a>>,
}

struct Field<'a> {
    member: Member,
    /// In schemas and messages.
    name: String,
    ty: &'a Type,
    what: What,
}

enum What {
    /// Lives in the heap. The trait is `Persist`, or one that means the same and has a better message (`worded`).
    Persists { by: TokenStream, worded: bool },
    /// Is made each time that the heap is opened.
    Rebuilt { make: TokenStream },
}

impl<'a> Fields<'a> {
    /// # Errors
    /// Whatever must be refused of any field.
    pub(crate) fn of(fields: &'a syn::Fields, parameters: &Parameters<'_>, traits: &mut Traits) -> Result<Self> {
        let mut all = Vec::new();
        refuse::all(fields.iter().zip(fields.members()).map(|(field, member)| {
            all.push(Field::of(field, member, parameters, traits)?);
            Ok(())
        }))?;
        Ok(Self { all })
    }

    /// An expression of whether any of them can be changed through a shared reference.
    pub(crate) fn interior(&self) -> TokenStream {
        let each = self.persisting().map(|(field, by)| {
            let ty = field.ty;
            quote_spanned!(at(ty)=> || <#ty as #by>::INTERIOR)
        });
        quote!(#(#each)*)
    }

    /// Statements that tell a schema of them, at the `offsets`.
    pub(crate) fn described(&self, offsets: &[TokenStream]) -> TokenStream {
        let fields = fresh("fields");
        let each = self.all.iter().zip(offsets).map(|(field, offset)| {
            let (name, ty) = (&field.name, field.ty);
            match &field.what {
                What::Rebuilt { .. } => quote_spanned!(at(ty)=> #fields.rebuilt::<#ty>(#name, #offset);),
                What::Persists { by, worded: true } => {
                    quote_spanned!(at(ty)=> <#ty as #by>::describe(#fields, #name, #offset);)
                }
                // First asked for as elsewhere: the compiler then says once, not twice, of a type that it is not `Persist`.
                What::Persists { by, worded: false } => quote_spanned! {at(ty)=>
                    let _ = <#ty as #by>::INTERIOR;
                    #fields.field::<#ty>(#name, #offset);
                },
            }
        });
        quote!(#(#each)*)
    }

    /// Statements that walk them. `within` stands before their names in messages, as in `Circle.`; `place` is the expression of a pointer to a field.
    pub(crate) fn walked(&self, within: &str, place: impl Fn(usize, &Member) -> TokenStream) -> TokenStream {
        let walker = fresh("walker");
        let each = self.all.iter().enumerate().map(|(index, field)| {
            let (name, ty, place) = (format!("{within}{}", field.name), field.ty, place(index, &field.member));
            // In the expansion: `this` points to a value of the type, as the contract of `walk` says, so `place` to a field of it.
            let look = match &field.what {
                What::Persists { by, .. } => quote_spanned!(at(ty)=> unsafe { <#ty as #by>::walk(#place, #walker) }?;),
                What::Rebuilt { make } => quote_spanned! {at(ty)=>
                    const fn __strewn_lasting<FieldType: 'static>() {}
                    __strewn_lasting::<#ty>();
                    unsafe { #walker.rebuild::<#ty>(#place, #make) };
                },
            };
            quote!({ #walker.field(#name); #look })
        });
        quote!(#(#each)*)
    }

    pub(crate) fn types(&self) -> impl Iterator<Item = &'a Type> {
        self.all.iter().map(|field| field.ty)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.all.iter().map(|field| &field.member)
    }

    pub(crate) fn persist_any(&self) -> bool {
        self.persisting().next().is_some()
    }

    /// A pattern of them, and statements that hold only if each has, in another section, the type that it is said to have there.
    pub(crate) fn in_section(&self, section: &TokenStream) -> (TokenStream, TokenStream) {
        let (mut pattern, mut checks) = (TokenStream::new(), TokenStream::new());
        for (index, (field, by)) in self.persisting().enumerate() {
            let (member, ty) = (&field.member, field.ty);
            let bound = format_ident!("__strewn_field_{index}", span = at(ty));
            pattern.extend(quote!(#member: #bound,));
            checks.extend(quote_spanned! {at(ty)=>
                // As in `described`: the compiler then says no more than once that a type is not `Persist`.
                let _ = <#ty as #by>::INTERIOR;
                __strewn_is_seen_as::<#section, #ty, _>(#bound);
            });
        }
        (pattern, checks)
    }

    fn persisting(&self) -> impl Iterator<Item = (&Field<'a>, &TokenStream)> {
        self.all.iter().filter_map(|field| match &field.what {
            What::Persists { by, .. } => Some((field, by)),
            What::Rebuilt { .. } => None,
        })
    }
}

impl<'a> Field<'a> {
    fn of(field: &'a syn::Field, member: Member, parameters: &Parameters<'_>, traits: &mut Traits) -> Result<Self> {
        let name = match &member {
            Member::Named(name) => name.unraw().to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        };
        let ty = &field.ty;
        let what = match Rebuild::parse(&field.attrs)? {
            Some(rebuild) => Self::rebuilt(ty, &rebuild, parameters)?,
            None => {
                refuse::field(ty)?;
                let by = traits.of(ty).map(ToTokens::into_token_stream);
                What::Persists { worded: by.is_some(), by: by.unwrap_or_else(persist) }
            }
        };
        Ok(Self { member, name, ty, what })
    }

    fn rebuilt(ty: &Type, rebuild: &Rebuild, parameters: &Parameters<'_>) -> Result<What> {
        if parameters.are_named_in(ty.to_token_stream()) {
            let what = "what is rebuilt must not depend on the section: its type can name neither the lifetime nor a type parameter";
            return Err(Error::new_spanned(ty, what));
        }
        if has_rc(ty) {
            let what = "an `Rc` cannot be sent to another thread, as everything in a heap may be; use `Arc` for what is rebuilt";
            return Err(Error::new_spanned(ty, what));
        }
        Ok(What::Rebuilt {
            make: match rebuild {
                Rebuild::ByDefault => quote_spanned!(at(ty)=> <#ty as ::core::default::Default>::default),
                Rebuild::By(path) => path.to_token_stream(),
            },
        })
    }
}

/// Where the compiler is to point when something is wrong with `ty`; names are looked up as if the macro had been written there, not the type.
fn at(ty: &Type) -> Span {
    Span::mixed_site().located_at(ty.span())
}
