//! What the compiler's messages do not show: which names are known, which parameters the impl has, what the discriminants are.

use crate::expand::derive;
use crate::generics::Parameters;
use crate::instead::{Traits, names, refused};
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{DeriveInput, Path, Type};

fn errors(input: TokenStream) -> Vec<String> {
    match derive(input) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| error.to_string()).collect(),
    }
}

/// Without spaces, whose places say nothing.
fn text(tokens: impl ToTokens) -> String {
    tokens.to_token_stream().to_string().replace(' ', "")
}

fn expansion(input: TokenStream) -> String {
    text(derive(input).unwrap())
}

#[test]
fn each_name_is_known_wherever_the_standard_library_may_have_it() {
    for name in names() {
        for path in
            [name.to_owned(), format!("std::collections::{name}"), format!("::core::{name}"), format!("sync::{name}")]
        {
            let path = syn::parse_str::<Path>(&path).unwrap();
            let ty: Type = syn::parse2(quote!((u8, [Option<#path<u8>>; 3]))).unwrap();
            let asked = Traits::default().of(&ty).map(|name| name.to_string());
            assert_eq!(asked, Some(format!("PersistInsteadOf{name}")), "{}", text(&path));
        }
        for path in [format!("self::{name}"), format!("mine::{name}"), format!("{name}Like"), format!("P{name}")] {
            let ty = syn::parse_str::<Type>(&path).unwrap();
            assert!(Traits::default().of(&ty).is_none(), "{path} is the user's");
            assert!(refused(&syn::parse_str(&path).unwrap()).is_none(), "{path} is the user's");
        }
    }
}

#[test]
fn what_a_phantom_names_is_no_part_of_a_value() {
    assert!(
        errors(quote!(
            struct A<T>(PhantomData<fn(&'static str) -> Vec<T>>);
        ))
        .is_empty()
    );
    assert_eq!(
        errors(quote!(
            struct A<T>(PhantomDate<fn() -> T>);
        ))
        .len(),
        1
    );
}

#[test]
fn every_field_that_is_refused_is_named_at_once() {
    let of_struct = quote!(
        struct A<'s> {
            a: &'s u8,
            b: (fn(), [*const u8; 2]),
            c: u8,
            d: Option<dyn Fn()>,
        }
    );
    assert_eq!(errors(of_struct).len(), 4);
    let of_enum = quote!(
        #[repr(u8)]
        enum A<'s> {
            A(&'s u8),
            #[persist(name = "B")]
            B,
            C {
                c: str,
                d: [u8],
            },
        }
    );
    assert_eq!(errors(of_enum).len(), 4);
}

#[test]
fn parameters_of_the_impl_and_of_other_sections() {
    let input = quote!(
        struct Pair<'a, T: Persist + Send, U = u64, const N: usize = 3>
        where
            U: strewn::Persist,
            u8: Copy;
    );
    let input: DeriveInput = syn::parse2(input).unwrap();
    let parameters = Parameters::of(&input.generics).unwrap();
    assert_eq!(text(parameters.of_impl()), "<'a,T,U,constN:usize>");
    assert_eq!(text(parameters.itself(&input.ident)), "Pair<'a,T,U,N>");
    let persist = "::strewn::derive_support::Persist";
    let seen = text(parameters.seen_in(&input.ident, &parameters.section()));
    assert_eq!(seen, format!("Pair<'section,<Tas{persist}>::In<'section>,<Uas{persist}>::In<'section>,N>"));
    let clause = text(parameters.of_where());
    assert_eq!(clause, format!("whereT:{persist},U:{persist},T:Persist+Send,U:strewn::Persist,u8:Copy,"));
}

#[test]
fn the_section_never_has_the_name_of_the_lifetime_of_the_type() {
    assert!(
        expansion(quote!(
            struct A<'s>(PVec<'s, u8>);
        ))
        .contains("In<'section>=A<'section>")
    );
    assert!(
        expansion(quote!(
            struct A<'section>(PVec<'section, u8>);
        ))
        .contains("In<'other_section>=A<'other_section>")
    );
    assert!(
        expansion(quote!(
            struct A(u8);
        ))
        .contains("In<'section>=Self;")
    );
}

#[test]
fn discriminants_count_on_from_the_last_one_that_is_said() {
    let all = expansion(quote!(
        #[repr(i8)]
        enum A {
            A,
            B,
            C = -7,
            D,
            E,
            F = LAST,
        }
    ));
    for discriminant in ["{0}", "{1}", "{-7}", "{(-7)+1}", "{(-7)+2}", "{LAST}"] {
        let constant = format!(":i8=const{discriminant};");
        assert_eq!(all.matches(&constant).count(), 2, "{constant}, described and walked: {all}");
    }
}

#[test]
fn the_integer_of_an_enum_is_one_that_a_tag_can_be() {
    for tag in ["u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "isize"] {
        let tag = quote::format_ident!("{tag}");
        assert!(
            errors(quote!(
                #[repr(align(8))]
                #[repr(#tag)]
                enum A {
                    A,
                }
            ))
            .is_empty()
        );
        assert!(
            errors(quote!(
                #[repr(C, #tag)]
                enum A {
                    A,
                }
            ))[0]
                .contains("leave `C` out")
        );
    }
    for repr in [quote!(), quote!(#[repr(align(8))]), quote!(#[repr(u128)])] {
        assert!(errors(quote!(#repr enum A { A }))[0].contains("add `#[repr(u8)]`"));
    }
}

#[test]
fn what_is_said_of_a_type_is_in_the_impl() {
    let all = expansion(quote!(
        #[persist(name = "a.B-c:d", version = 4294967295)]
        #[persist(writes = "hardware", from = Old<'s>)]
        struct r#A<'s>(PVec<'s, u8>);
    ));
    for part in ["(\"a.B-c:d\",4294967295u32,", "constWRITES:::strewn::derive_support::Writes=", "of::<Old<'s>,Self>()"]
    {
        assert!(all.contains(part), "{part}: {all}");
    }
    let all = expansion(quote!(
        struct r#type(u8);
    ));
    assert!(
        all.contains("define::<Self>(\"type\",1u32,") && !all.contains("constWRITES") && !all.contains("fnpredecessor"),
        "{all}"
    );
}
