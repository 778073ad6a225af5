-- What somebody typed into psql half a year ago, and then was called away. One row came since.
CREATE TABLE public.companies (
    id integer PRIMARY KEY,
    name varchar(255) NOT NULL,
    yclients_company_id integer NOT NULL UNIQUE,
    phone varchar(20),
    email varchar(255),
    website varchar(255),
    marketplace_app_id varchar(255),
    marketplace_connected_at timestamptz,
    marketplace_permissions jsonb,
    settings jsonb DEFAULT '{}',
    timezone varchar(50) DEFAULT 'Europe/Moscow',
    locale varchar(10) DEFAULT 'ru-RU',
    is_active boolean DEFAULT true,
    subscription_status varchar(50) DEFAULT 'active',
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);

CREATE TABLE public.clients (
    id serial PRIMARY KEY,
    company_id integer NOT NULL REFERENCES public.companies (id) ON DELETE CASCADE,
    yclients_client_id integer,
    phone varchar(20) NOT NULL,
    name varchar(255),
    email varchar(255),
    sex varchar(10),
    birth_date date,
    discount numeric(5, 2) DEFAULT 0,
    loyalty_card varchar(50),
    visits_count integer DEFAULT 0,
    last_visit_date date,
    first_visit_date date,
    tags text[],
    comment text,
    importance integer DEFAULT 0,
    is_deleted boolean DEFAULT false,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    synced_at timestamptz,
    UNIQUE (company_id, phone)
);

CREATE INDEX idx_companies_active ON companies (is_active) WHERE is_active = true;

INSERT INTO companies (id, name, yclients_company_id) VALUES (1, 'Salon', 100001);
