package sandbox

import (
	"math"
	"strings"
)

// product is a product created through the API. A price of AddPrice has a product of its own.
type product struct {
	id, name, description string
	created               int64 // unix seconds
	metadata              map[string]string
}

func (s *Stripe) productOperations() []operation {
	return []operation{
		{"POST", "/v1/products", "name description metadata metadata[*]", "", s.createProduct},
		{"GET", "/v1/products", "active" + createdParams + pageParams, "", s.listProducts},
		{"GET", "/v1/products/{id}", "", "", s.retrieveProduct},
		{"POST", "/v1/prices", "product unit_amount currency nickname metadata metadata[*]", "product", s.createPrice},
	}
}

// listProducts lists the products created through the API. None of them can be archived.
func (s *Stripe) listProducts(q *query) (any, *apiError) {
	active, created := q.flag("active", true), q.createdWanted()
	return listPage(q, &s.products, "/v1/products", func(p *product) bool { return active && created(p.created) },
		func(p *product, _ expansion) object { return p.object(s.config.Livemode) })
}

func (s *Stripe) createProduct(q *query) (any, *apiError) {
	if q.Get("name") == "" {
		return nil, malformed("name", "Missing required param: name.")
	}
	made := &product{
		id:          "prod_" + randomText(14),
		name:        q.Get("name"),
		description: q.Get("description"),
		created:     s.Now().Unix(),
		metadata:    q.metadata("metadata", nil),
	}
	if q.problem != nil {
		return nil, q.problem
	}
	s.products.put(made.id, made)
	return made.object(s.config.Livemode), nil
}

func (p *product) object(livemode bool) object {
	return object{
		"id":            p.id,
		"object":        "product",
		"active":        true,
		"created":       p.created,
		"default_price": nil,
		"images":        []string{},
		"description":   nullable(p.description),
		"livemode":      livemode,
		"metadata":      p.metadata,
		"name":          p.name,
		"type":          "service",
	}
}

func (s *Stripe) createPrice(q *query) (any, *apiError) {
	of := s.products.get(q.Get("product"))
	switch {
	case of == nil:
		return nil, missing("product", q.Get("product"), "product")
	case len(q.Get("currency")) != 3:
		return nil, malformed("currency", "Invalid currency: %s.", q.Get("currency"))
	case !q.Has("unit_amount"):
		return nil, malformed("unit_amount", "Missing required param: unit_amount.")
	}
	made := &price{product: of.id, created: s.Now().Unix()}
	made.Price = Price{
		ID:          timedID("price_1", s.Now()),
		Name:        of.name,
		Description: of.description,
		Currency:    strings.ToLower(q.Get("currency")),
		Amount:      q.integer("unit_amount", 0, 0, math.MaxInt32),
		Active:      true,
		Metadata:    q.metadata("metadata", nil),
	}
	if q.problem != nil {
		return nil, q.problem
	}
	s.prices.put(made.ID, made)
	return s.priceObject(made, q.expand), nil
}
