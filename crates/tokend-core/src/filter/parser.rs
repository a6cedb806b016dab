use std::{marker::PhantomData, str::FromStr};

use super::{
    EventFilter, Expression, Filter, FilterError, TokenFilter, event, field,
    language::{Fields, Wrong},
    lexer::Lexer,
};

impl FromStr for TokenFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        parse::<field::Field<'_>>(text)
    }
}

impl FromStr for EventFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        parse::<event::Field>(text)
    }
}

fn parse<'a, F: Fields<'a>>(text: &'a str) -> Result<Filter<F::Restriction>, FilterError> {
    if text.len() > TokenFilter::MAX_LEN {
        return Err(FilterError::TooLong(text.len()));
    }
    let mut parser = Parser::<F> {
        lexer: Lexer::new(text),
        restrictions: 0,
        fields: PhantomData,
    };
    let expression = parser.expression(0)?;
    if parser.lexer.is_at_end() {
        Ok(Filter(expression))
    } else {
        Err(parser.expected("AND, OR or the end"))
    }
}

/// A recursive-descent parser with a method for each rule of the grammar. `depth` is the number of open parentheses.
struct Parser<'a, F> {
    lexer: Lexer<'a>,
    /// The number of comparisons so far.
    restrictions: usize,
    fields: PhantomData<F>,
}

impl<'a, F: Fields<'a>> Parser<'a, F> {
    fn expression(&mut self, depth: usize) -> Result<Expression<F::Restriction>, FilterError> {
        self.joined("AND", Expression::All, |parser| parser.factor(depth))
    }

    fn factor(&mut self, depth: usize) -> Result<Expression<F::Restriction>, FilterError> {
        self.joined("OR", Expression::Any, |parser| parser.term(depth))
    }

    fn joined(
        &mut self,
        keyword: &str,
        join: impl Fn(Vec<Expression<F::Restriction>>) -> Expression<F::Restriction>,
        part: impl Fn(&mut Self) -> Result<Expression<F::Restriction>, FilterError>,
    ) -> Result<Expression<F::Restriction>, FilterError> {
        let first = part(self)?;
        if !self.lexer.take_keyword(keyword) {
            return Ok(first);
        }
        let mut parts = vec![first, part(self)?];
        while self.lexer.take_keyword(keyword) {
            parts.push(part(self)?);
        }
        Ok(join(parts))
    }

    fn term(&mut self, depth: usize) -> Result<Expression<F::Restriction>, FilterError> {
        let at = self.lexer.next_at();
        if !self.lexer.take("(") {
            return self.restriction();
        }
        if depth == TokenFilter::MAX_DEPTH {
            return Err(FilterError::TooDeep {
                position: self.lexer.position(at),
            });
        }
        let inner = self.expression(depth + 1)?;
        if self.lexer.take(")") {
            Ok(inner)
        } else {
            Err(self.expected("AND, OR or )"))
        }
    }

    fn restriction(&mut self) -> Result<Expression<F::Restriction>, FilterError> {
        let field_at = self.lexer.next_at();
        let field = F::named(self.lexer.name()).map_err(|wrong| self.wrong(wrong, field_at, field_at))?;
        let operator_at = self.lexer.next_at();
        let operator = self
            .lexer
            .operator()
            .ok_or_else(|| self.lexer.unexpected(operator_at, field.operators()))?;
        let value_at = self.lexer.next_at();
        let value = self
            .lexer
            .value()?
            .ok_or_else(|| self.lexer.unexpected(value_at, "a value, if need be in quotes"))?;
        let restriction = field
            .restriction(operator, &value)
            .map_err(|wrong| self.wrong(wrong, operator_at, value_at))?;
        if self.restrictions == TokenFilter::MAX_RESTRICTIONS {
            return Err(FilterError::TooMany {
                position: self.lexer.position(field_at),
            });
        }
        self.restrictions += 1;
        Ok(Expression::One(restriction))
    }

    fn wrong(&self, wrong: Wrong, first_at: usize, value_at: usize) -> FilterError {
        match wrong {
            Wrong::Field(expected) | Wrong::Operator(expected) => self.lexer.unexpected(first_at, expected),
            Wrong::Value(expected) => self.lexer.unexpected(value_at, expected),
        }
    }

    fn expected(&mut self, expected: &str) -> FilterError {
        let at = self.lexer.next_at();
        self.lexer.unexpected(at, expected)
    }
}
