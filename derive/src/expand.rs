//! The impl as a whole.
//!
//! Paths are absolute and locals are hygienic, so that nothing of the user's can be in the way. A value is read only through raw pointers, because nobody has
//! looked at its bytes.

use crate::attributes::{OfType, Repr, Writes};
use crate::enums;
use crate::fields::Fields;
use crate::generics::Parameters;
use crate::instead::Traits;
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::{Data, DeriveInput, Error, Result};

/// The impl of `Persist` for `input`.
///
/// # Errors
/// What must be refused, at the tokens to blame.
pub(crate) fn derive(input: TokenStream) -> Result<TokenStream> {
    let input = syn::parse2::<DeriveInput>(input)?;
    let said = OfType::parse(&input.attrs)?;
    let repr = Repr::parse(&input.attrs)?;
    let parameters = Parameters::of(&input.generics)?;
    let mut traits = Traits::default();
    let body = match &input.data {
        Data::Struct(data) => {
            of_struct(&input.ident, &repr, &Fields::of(&data.fields, &parameters, &mut traits)?, &parameters)?
        }
        Data::Enum(data) => enums::body(&input.ident, &repr, data, &parameters, &mut traits)?,
        Data::Union(data) => {
            let what = "a union does not say which of its fields is valid; use an enum";
            return Err(Error::new_spanned(data.union_token, what));
        }
    };
    Ok(whole(&input.ident, &said, &parameters, &traits, &body))
}

/// What differs between structs and enums.
pub(crate) struct Body {
    /// `|| ..` for each field: whether it has interior mutability.
    pub(crate) interior: TokenStream,
    pub(crate) described: TokenStream,
    pub(crate) walked: TokenStream,
    /// Checks that each field is, in another section, what it says that it is there.
    pub(crate) in_section: Option<TokenStream>,
}

fn whole(name: &Ident, said: &OfType, parameters: &Parameters<'_>, traits: &Traits, body: &Body) -> TokenStream {
    let (persist, support, section) = (persist(), support(), parameters.section());
    let (schema, this, walker) = (fresh("schema"), fresh("this"), fresh("walker"));
    let (of_impl, itself, of_where) = (parameters.of_impl(), parameters.itself(name), parameters.of_where());
    let seen = if parameters.is_plain() { quote!(Self) } else { parameters.seen_in(name, &section) };
    let Body { interior, walked, .. } = body;
    let described = described(name, said, parameters, &body.described);
    let (writes, predecessor) = (writes(said), predecessor(said));
    let traits = traits.define();
    let in_section = body.in_section.as_ref().map(|checks| {
        let value = fresh("value");
        quote! {
            /// What is taken out of a value lives no longer than the section: each field is, in another section, what it says that it is there.
            trait __StrewnInSection: #persist {
                fn check<#section>(value: &mut <Self as #persist>::In<#section>);
            }
            impl #of_impl __StrewnInSection for #itself #of_where {
                fn check<#section>(#value: &mut <Self as #persist>::In<#section>) {
                    fn __strewn_is_seen_as<#section, FieldType: #persist<In<#section> = Seen>, Seen>(_: *mut Seen) {}
                    #checks
                }
            }
        }
    });
    quote! {
        #[allow(dead_code, deprecated, unused_variables, reason = "the type is what it is, and not every derive uses all")]
        const _: () = {
            #traits
            #[automatically_derived]
            unsafe impl #of_impl #persist for #itself #of_where {
                type In<#section> = #seen;
                const INTERIOR: bool = false #interior;
                #writes
                fn describe(#schema: &mut #support::Schema) -> ::std::string::String {
                    #described
                }
                unsafe fn walk(#this: *mut Self, #walker: &mut #support::Walker<'_>) -> ::strewn::Result<()> {
                    #walked
                }
                #predecessor
            }
            #in_section
        };
    }
}

fn described(name: &Ident, said: &OfType, parameters: &Parameters<'_>, fields: &TokenStream) -> TokenStream {
    let (schema, arguments, closure) = (fresh("schema"), fresh("arguments"), fresh("fields"));
    let name = said.name.clone().unwrap_or_else(|| name.unraw().to_string());
    let version = said.version.unwrap_or(1);
    let each = parameters.described();
    let count = each.len();
    quote! {
        let #arguments: [::std::string::String; #count] = [#(#each),*];
        #schema.define::<Self>(#name, #version, &#arguments, |#closure| { #fields })
    }
}

fn writes(said: &OfType) -> Option<TokenStream> {
    let support = support();
    let how = said.writes.map(|how| match how {
        Writes::Hardware => quote!(Hardware),
        Writes::Barrier => quote!(Barrier),
    })?;
    Some(quote!(const WRITES: #support::Writes = #support::Writes::#how;))
}

fn predecessor(said: &OfType) -> Option<TokenStream> {
    let support = support();
    let from = said.from.as_ref()?;
    Some(quote! {
        fn predecessor() -> ::core::option::Option<#support::Predecessor> {
            ::core::option::Option::Some(#support::Predecessor::of::<#from, Self>())
        }
    })
}

fn of_struct(name: &Ident, repr: &Repr, fields: &Fields<'_>, parameters: &Parameters<'_>) -> Result<Body> {
    if let Some(span) = repr.packed {
        return Err(Error::new(span, "the fields of a packed struct cannot be borrowed; leave `packed` out"));
    }
    let (this, value) = (fresh("this"), fresh("value"));
    let offsets: Vec<_> = fields.members().map(|member| quote!(::core::mem::offset_of!(Self, #member))).collect();
    let walked = fields.walked("", |_, member| quote!(&raw mut (*#this).#member));
    let (pattern, checks) = fields.in_section(&parameters.section());
    Ok(Body {
        interior: fields.interior(),
        described: fields.described(&offsets),
        walked: quote!(#walked ::core::result::Result::Ok(())),
        in_section: fields.persist_any().then(|| quote!(let #name { #pattern .. } = #value; #checks)),
    })
}

/// A name that cannot be confused with one of the user's.
pub(crate) fn fresh(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The trait, by its path.
pub(crate) fn persist() -> TokenStream {
    quote!(::strewn::derive_support::Persist)
}

/// Where the rest is that an expansion uses.
pub(crate) fn support() -> TokenStream {
    quote!(::strewn::derive_support)
}
