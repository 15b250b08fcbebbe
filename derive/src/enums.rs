//! Enums: a tag that is an integer, then the fields of the variant that it stands for.
//!
//! The reference lays an enum with an integer `repr` out as a union of `repr(C)` structs, one a variant, each of which starts with the tag. So the offset of a
//! field is what `repr(C)` says: behind the field before it, at the next multiple of its alignment.

use crate::attributes::{Repr, of_variant};
use crate::expand::{Body, fresh};
use crate::fields::Fields;
use crate::generics::Parameters;
use crate::instead::Traits;
use crate::refuse;
use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{DataEnum, Error, Expr, Result};

struct Variant<'a> {
    ident: &'a Ident,
    name: String,
    fields: Fields<'a>,
    /// A constant expression.
    discriminant: TokenStream,
}

/// # Errors
/// An enum whose tag is not known, and whatever must be refused of its fields.
pub(crate) fn body(
    name: &Ident,
    repr: &Repr,
    data: &DataEnum,
    parameters: &Parameters<'_>,
    traits: &mut Traits,
) -> Result<Body> {
    let tag = tag(name, repr, data)?;
    let variants = variants(data, parameters, traits)?;
    let interior = variants.iter().map(|variant| variant.fields.interior());
    let described = variants.iter().map(|variant| described(tag, variant));
    let walked = variants.iter().map(|variant| walked(tag, variant));
    let in_section = variants.iter().map(|variant| {
        let (ident, (pattern, checks)) = (variant.ident, variant.fields.in_section(&parameters.section()));
        quote!(#name::#ident { #pattern .. } => { #checks })
    });
    let (this, walker, found, value) = (fresh("this"), fresh("walker"), fresh("found"), fresh("value"));
    Ok(Body {
        interior: quote!(#(#interior)*),
        described: quote!(#({ #described })*),
        in_section: variants
            .iter()
            .any(|variant| variant.fields.persist_any())
            .then(|| quote!(match #value { #(#in_section)* })),
        walked: quote! {
            #walker.field("tag");
            let #found = unsafe { #this.cast::<#tag>().read() };
            #({ #walked })*
            ::core::result::Result::Err(#walker.invalid::<Self>(#found))
        },
    })
}

/// The integer that tells the variants apart.
fn tag<'a>(name: &Ident, repr: &'a Repr, data: &DataEnum) -> Result<&'a Ident> {
    if data.variants.is_empty() {
        return Err(Error::new_spanned(name, "an enum without variants has no values that could live in a heap"));
    }
    if let Some(span) = repr.c {
        return Err(Error::new(
            span,
            "leave `C` out: it puts the fields of variants elsewhere than `#[repr(u8)]` alone",
        ));
    }
    repr.tag.as_ref().ok_or_else(|| {
        let what = "a persistent enum says which integer tells its variants apart, so that every build agrees: add `#[repr(u8)]`";
        Error::new_spanned(name, what)
    })
}

fn variants<'a>(data: &'a DataEnum, parameters: &Parameters<'_>, traits: &mut Traits) -> Result<Vec<Variant<'a>>> {
    let mut variants = Vec::new();
    let (mut explicit, mut since) = (None::<&Expr>, 0);
    refuse::all(data.variants.iter().map(|variant| {
        of_variant(&variant.attrs)?;
        if let Some((_, expression)) = &variant.discriminant {
            (explicit, since) = (Some(expression), 0);
        }
        let count = Literal::usize_unsuffixed(since);
        since += 1;
        variants.push(Variant {
            ident: &variant.ident,
            name: variant.ident.unraw().to_string(),
            fields: Fields::of(&variant.fields, parameters, traits)?,
            discriminant: match explicit {
                None => quote!(#count),
                Some(expression) if since == 1 => quote!(#expression),
                Some(expression) => quote!((#expression) + #count),
            },
        });
        Ok(())
    }))?;
    Ok(variants)
}

fn described(tag: &Ident, variant: &Variant<'_>) -> TokenStream {
    let (fields, value) = (fresh("fields"), fresh("value"));
    let (name, discriminant) = (&variant.name, &variant.discriminant);
    let (offsets, layout) = layout(tag, &variant.fields);
    let offsets: Vec<_> = offsets.iter().map(|offset| quote!(#offset)).collect();
    let of_fields = variant.fields.described(&offsets);
    quote! {
        let #value: #tag = const { #discriminant };
        #fields.variant(#name, #value as i128);
        #layout
        #of_fields
    }
}

fn walked(tag: &Ident, variant: &Variant<'_>) -> TokenStream {
    let (this, found, value) = (fresh("this"), fresh("found"), fresh("value"));
    let discriminant = &variant.discriminant;
    let (offsets, layout) = layout(tag, &variant.fields);
    let types: Vec<_> = variant.fields.types().collect();
    let of_fields = variant.fields.walked(&format!("{}.", variant.name), |index, _| {
        let (offset, ty) = (&offsets[index], types[index]);
        quote!(#this.byte_add(#offset).cast::<#ty>())
    });
    quote! {
        let #value: #tag = const { #discriminant };
        if #found == #value {
            #layout
            #of_fields
            return ::core::result::Result::Ok(());
        }
    }
}

/// Names of the offsets of the fields, and the statements that define them.
fn layout(tag: &Ident, fields: &Fields<'_>) -> (Vec<Ident>, TokenStream) {
    let end = fresh("end");
    let mut statements = quote!(let #end = ::core::mem::size_of::<#tag>(););
    let mut offsets = Vec::new();
    for (index, ty) in fields.types().enumerate() {
        let offset = format_ident!("offset_{index}", span = Span::mixed_site());
        statements.extend(quote! {
            let #offset = #end.next_multiple_of(::core::mem::align_of::<#ty>());
            let #end = #offset + ::core::mem::size_of::<#ty>();
        });
        offsets.push(offset);
    }
    (offsets, statements)
}
