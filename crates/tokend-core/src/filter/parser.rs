use std::str::FromStr;

use super::{
    Expression, FilterError, TokenFilter,
    field::{Field, Wrong},
    lexer::Lexer,
};

impl FromStr for TokenFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        if text.len() > Self::MAX_LEN {
            return Err(FilterError::TooLong(text.len()));
        }
        let mut parser = Parser { lexer: Lexer::new(text), restrictions: 0 };
        let expression = parser.expression(0)?;
        if parser.lexer.is_at_end() { Ok(Self(expression)) } else { Err(parser.expected("AND, OR or the end")) }
    }
}

/// Recursive descent, a function for each rule of the grammar. `depth` is how many parentheses are open.
struct Parser<'a> {
    lexer: Lexer<'a>,
    /// How many there were so far.
    restrictions: usize,
}

impl Parser<'_> {
    fn expression(&mut self, depth: usize) -> Result<Expression, FilterError> {
        self.joined("AND", Expression::All, |parser| parser.factor(depth))
    }

    fn factor(&mut self, depth: usize) -> Result<Expression, FilterError> {
        self.joined("OR", Expression::Any, |parser| parser.term(depth))
    }

    fn joined(
        &mut self,
        keyword: &str,
        join: impl Fn(Vec<Expression>) -> Expression,
        part: impl Fn(&mut Self) -> Result<Expression, FilterError>,
    ) -> Result<Expression, FilterError> {
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

    fn term(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let at = self.lexer.next_at();
        if !self.lexer.take("(") {
            return self.restriction();
        }
        if depth == TokenFilter::MAX_DEPTH {
            return Err(FilterError::TooDeep { position: self.lexer.position(at) });
        }
        let inner = self.expression(depth + 1)?;
        if self.lexer.take(")") { Ok(inner) } else { Err(self.expected("AND, OR or )")) }
    }

    fn restriction(&mut self) -> Result<Expression, FilterError> {
        let field_at = self.lexer.next_at();
        let field = Field::named(self.lexer.name()).map_err(|wrong| self.wrong(wrong, field_at, field_at))?;
        let operator_at = self.lexer.next_at();
        let operator = self.lexer.operator().ok_or_else(|| self.lexer.unexpected(operator_at, field.operators()))?;
        let value_at = self.lexer.next_at();
        let value = self.lexer.value()?.ok_or_else(|| self.lexer.unexpected(value_at, "a value, if need be in quotes"))?;
        let restriction = field.restriction(operator, &value).map_err(|wrong| self.wrong(wrong, operator_at, value_at))?;
        if self.restrictions == TokenFilter::MAX_RESTRICTIONS {
            return Err(FilterError::TooMany { position: self.lexer.position(field_at) });
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
